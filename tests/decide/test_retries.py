"""Retry budgets: what is safe along the path, nothing in a storm, and back a level at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.decide.retries import RHO_MAX, budget, depth_of, propose
from governor.knobs import Direction, RetryPolicy
from governor.reasons import Reason
from tests.decide.situations import chain, mesh, one, only, situation

RETRYING = {"rate": 500.0, "retries": 10.0}


def at(now: float, capacity: float = 1000.0, **given: Any) -> Any:
    """What is proposed for 500 attempts/s with budget `now`; belief and edge may be overridden."""
    belief = {"capacity": capacity} | given.pop("belief", {})
    edge = RETRYING | given.pop("edge", {})
    knobs = {"attempts": 2.0, "retry_budget": now} | given.pop("knobs", {})
    return propose(situation(one(), belief=belief, edge=edge, knobs=knobs, **given))


@pytest.mark.parametrize(
    ("load", "safe"), [(0.5, 0.2), (0.85, 0.10), (0.9, 0.05), (0.94, 0.0), (0.96, 0.0), (3.0, 0.0)]
)
def test_the_budget_is_the_largest_level_that_cannot_feed_an_overload(load: float, safe: float) -> None:
    s = situation(one(), belief={"capacity": 1000.0}, edge={"rate": 1000 * load})
    assert budget(s)[0] == pytest.approx(safe)


def test_deeper_calls_get_less_so_that_the_product_is_bounded() -> None:
    found = budget(situation(chain(), belief={"capacity": 1000.0}, edge={"rate": 800.0}))
    assert found.tolist() == pytest.approx([0.10, 0.05])


@given(st.floats(0.01, 2.0))
def test_budgets_along_a_chain_never_multiply_a_load_to_saturation(load: float) -> None:
    found = budget(situation(chain(), belief={"capacity": 1000.0}, edge={"rate": 1000 * load}))
    for depth, level in zip((1, 2), found, strict=True):
        assert level == 0 or load * (1 + level) ** depth <= RHO_MAX * (1 + 1e-6)


def test_what_full_caps_refuse_counts_as_load() -> None:
    s = situation(one(), belief={"capacity": 1000.0}, edge={"rate": 500.0, "overflow": 400.0})
    assert budget(s)[0] == pytest.approx(0.05)


def test_depth_is_the_longest_way_from_an_entry_and_ends_in_a_cycle() -> None:
    assert depth_of(mesh(("client a", "a b", "b c", "client c"))).tolist() == [1, 2, 3, 3]
    assert depth_of(mesh(("client a", "a b", "b a"))).max() == 16


def test_unbounded_retries_get_a_budget() -> None:
    found = only(at(math.nan))
    assert found.current == RetryPolicy(2, None)
    assert found.proposed == RetryPolicy(2, 0.2)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.RETRY_BUDGET
    assert not found.urgent


def test_retries_that_are_seen_although_none_are_set_get_one_too() -> None:
    found = only(at(math.nan, knobs={"attempts": math.nan}))
    assert found.proposed == RetryPolicy(None, 0.2)


def test_an_edge_that_never_retries_is_left_alone() -> None:
    for attempts in (math.nan, 0.0):
        assert not len(at(math.nan, knobs={"attempts": attempts}, edge={"retries": 0.0}))


@pytest.mark.parametrize("saturated", [False, True])
def test_a_budget_that_is_no_longer_safe_is_cut_and_at_once_where_the_callee_is_saturated(
    saturated: bool,
) -> None:
    found = only(at(0.2, capacity=500 / 0.9, belief={"saturated": saturated}))
    assert found.proposed == RetryPolicy(2, pytest.approx(0.05))
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.RETRY_BUDGET
    assert found.urgent is saturated


def test_a_safe_budget_is_left_alone() -> None:
    assert not len(at(0.2))
    assert not len(at(0.05, capacity=500 / 0.9))


@pytest.mark.parametrize(("now", "then"), [(0.0, 0.05), (0.05, 0.10), (0.10, 0.20), (0.07, 0.10)])
def test_a_budget_comes_back_by_one_level(now: float, then: float) -> None:
    found = only(at(now))
    assert found.proposed == RetryPolicy(2, pytest.approx(then))
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.RETRY_RESTORED
    assert not found.urgent


def test_a_budget_comes_back_no_further_than_is_safe() -> None:
    assert not len(at(0.10, capacity=500 / 0.85))
    assert not len(at(0.0, capacity=500 / 0.96))


STORMS = [
    {"edge": {"retries": 260.0}},
    {"edge": {"timeouts": 110.0}, "belief": {"saturated": True}},
]


@pytest.mark.parametrize("storm", STORMS, ids=["most attempts are retries", "time-outs while saturated"])
@pytest.mark.parametrize("now", [math.nan, 0.2, 0.05])
def test_a_storm_ends_all_retries_at_once(storm: dict[str, Any], now: float) -> None:
    found = only(at(now, **storm))
    assert found.proposed == RetryPolicy(2, 0.0)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.RETRY_STORM
    assert found.urgent


@pytest.mark.parametrize(
    "quiet",
    [
        {"edge": {"retries": 240.0}},
        {"edge": {"timeouts": 110.0}},
        {"edge": {"timeouts": 90.0}, "belief": {"saturated": True}},
        {"edge": {"timeouts": 110.0, "retries": 0.0}, "belief": {"saturated": True}},
    ],
    ids=["fewer retries", "not saturated", "fewer time-outs", "nobody retries"],
)
def test_less_than_a_storm_leaves_a_safe_budget(quiet: dict[str, Any]) -> None:
    assert not len(at(0.2, **quiet))


def test_where_capacity_is_unknown_only_a_storm_is_acted_on() -> None:
    assert not len(at(math.nan, capacity=math.nan))
    assert only(at(math.nan, capacity=math.nan, edge={"retries": 260.0})).reason is Reason.RETRY_STORM
