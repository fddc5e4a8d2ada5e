"""Retry budgets: what the path can bear, none in a storm, and back a level at a time."""

from __future__ import annotations

import numpy as np
import pytest

from governor.decide.retries import budget, depth_of, propose, storm
from governor.decide.situation import Situation
from governor.knobs import Direction, Proposal, RetryPolicy
from governor.proposals import Proposals
from governor.reasons import Reason
from tests.decide.situations import ENTRY, INDEX, INNER, belief, frame, knobs, situation

RETRYING = {"attempts": (2, 2)}


def on(s: Situation, edge: str = "ingress>web") -> list[Proposal]:
    return [p for p in Proposals([propose(s)]) if p.target.name == edge]


def with_load(arrivals: float) -> Situation:
    return situation(seen=frame(edge={"attempts": (arrivals, 100)}), set_to=knobs(**RETRYING))


def test_depth_counts_hops_from_the_entry() -> None:
    np.testing.assert_array_equal(depth_of(INDEX), [1, 2])


@pytest.mark.parametrize(("arrivals", "level"), [(200, 0.2), (335, 0.1), (358, 0.05), (380, 0.0), (500, 0.0)])
def test_the_budget_is_the_largest_level_that_cannot_overfill_the_callee(arrivals: float, level: float) -> None:
    found = budget(with_load(arrivals))[ENTRY]
    assert found == level
    assert arrivals * (1 + found) <= 400 or level == 0.0


def test_budgets_along_a_path_multiply_to_a_bounded_whole() -> None:
    s = situation(seen=frame(edge={"attempts": (200, 820)}), set_to=knobs(**RETRYING))
    found = budget(s)[INNER]
    assert 820 * (1 + found) ** 2 <= 1000
    assert found == 0.05


def test_unbounded_retries_get_a_budget() -> None:
    (found,) = on(with_load(200))
    assert found.reason is Reason.RETRY_BUDGET
    assert found.proposed == RetryPolicy(2, 0.2)
    assert found.direction is Direction.TIGHTEN


def test_an_edge_that_never_retries_is_left_alone() -> None:
    assert on(situation()) == []


def test_a_storm_ends_all_retries_at_once() -> None:
    raging = frame(edge={"attempts": (900, 100), "retries": (600, 0)})
    s = situation(seen=raging, set_to=knobs(**RETRYING, retry_budget=(0.2, 0.2)))
    assert storm(s).tolist() == [True, False]
    (found,) = on(s)
    assert found.reason is Reason.RETRY_STORM
    assert found.proposed == RetryPolicy(2, 0.0)
    assert found.urgent


def test_time_outs_are_a_storm_only_where_the_callee_is_saturated() -> None:
    late = frame(edge={"attempts": (300, 100), "retries": (50, 0), "timeouts": (100, 0)})
    full = belief(saturated=np.array([False, True, False]))
    assert not storm(situation(seen=late))[ENTRY]
    assert storm(situation(seen=late, believed=full))[ENTRY]


def test_a_budget_comes_back_one_level_at_a_time() -> None:
    s = situation(set_to=knobs(**RETRYING, retry_budget=(0.0, 0.2)))
    (found,) = on(s)
    assert found.reason is Reason.RETRY_RESTORED
    assert found.proposed == RetryPolicy(2, 0.05)
    assert found.direction is Direction.LOOSEN
    assert not found.urgent


def test_nothing_is_said_where_capacity_is_unknown() -> None:
    s = situation(set_to=knobs(**RETRYING), believed=belief(capacity=np.full(3, np.nan)))
    assert on(s) == []
