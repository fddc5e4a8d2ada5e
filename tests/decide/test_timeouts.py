"""Timeouts: moved only where they are far off, by a fifth a step, never on evidence from an unhealthy edge."""

from __future__ import annotations

import math
from typing import Any

import pytest

from governor.decide.timeouts import needed, propose
from governor.knobs import Direction, Timeout
from governor.reasons import Reason
from tests.decide.situations import chain, one, only, situation

TAILS = {"latency_p99": 0.05, "latency_p999": 0.1}
NEED = 0.13


def at(timeout: float, **given: Any) -> Any:
    edge = TAILS | given.pop("edge", {})
    knobs = {"timeout": timeout} | given.pop("knobs", {})
    return propose(situation(one(), edge=edge, knobs=knobs, **given))


def test_healthy_answers_need_a_margin_over_their_slowest() -> None:
    assert needed(situation(one(), edge=TAILS))[0] == pytest.approx(1.3 * 0.1)
    assert needed(situation(one(), edge=TAILS | {"latency_p99": 0.09}))[0] == pytest.approx(2 * 0.09)


UNHEALTHY: dict[str, dict[str, Any]] = {
    "errors": {"edge": {"errors": 2.0}},
    "a saturated callee": {"belief": {"saturated": True}},
    "too few requests": {"edge": {"rate": 60.0}},
    "no tail measured": {"edge": {"latency_p99": math.nan, "latency_p999": math.nan}},
}


@pytest.mark.parametrize("reason", UNHEALTHY)
@pytest.mark.parametrize("timeout", [0.05, 30.0])
def test_nothing_is_learnt_from_an_unhealthy_edge(reason: str, timeout: float) -> None:
    assert not len(at(timeout, **UNHEALTHY[reason]))
    assert len(at(timeout)) == 1


def test_one_tail_is_enough() -> None:
    assert needed(situation(one(), edge=TAILS | {"latency_p999": math.nan}))[0] == pytest.approx(0.1)


@pytest.mark.parametrize("timeout", [0.14, 0.51, math.nan])
def test_a_timeout_that_is_not_far_off_is_left_alone(timeout: float) -> None:
    assert not len(at(timeout))


@pytest.mark.parametrize(("now", "then"), [(1.0, 0.8), (0.53, 0.424), (30.0, 24.0)])
def test_a_far_too_long_timeout_is_shortened_by_a_fifth(now: float, then: float) -> None:
    found = only(at(now, knobs={"per_try_timeout": 0.25}))
    assert found.current == Timeout(pytest.approx(now), 0.25)
    assert found.proposed == Timeout(pytest.approx(then, abs=1e-3), 0.25)
    assert found.uncapped == Timeout(pytest.approx(2 * NEED), 0.25)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.TIMEOUT_TOO_LONG
    assert not found.urgent


@pytest.mark.parametrize(("now", "then"), [(0.1, 0.12), (0.12, NEED)])
def test_a_too_short_timeout_is_lengthened_by_a_fifth_and_no_further_than_needed(now: float, then: float) -> None:
    found = only(at(now))
    assert found.proposed == Timeout(pytest.approx(then), None)
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.TIMEOUT_TOO_SHORT
    assert not found.urgent


def in_a_row(first: float, second: float, **given: Any) -> Any:
    edge = {"rate": 200.0, "latency_p99": 0.1, "latency_p999": 0.3} | given.pop("edge", {})
    return propose(situation(chain(), edge=edge, knobs={"timeout": [first, second]}, **given))


@pytest.mark.parametrize(("second", "then"), [(1.0, 0.9), (1.1, 0.9), (1.5, 1.2)])
def test_a_callee_waits_less_long_than_its_caller(second: float, then: float) -> None:
    found = only(in_a_row(1.0, second))
    assert found.target.name == "front|back"
    assert found.proposed == Timeout(pytest.approx(then), None)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.TIMEOUT_ORDER
    assert found.evidence["caller_timeout_s"] == 1.0


def test_a_shorter_timeout_behind_a_longer_is_left_alone() -> None:
    assert not len(in_a_row(1.0, 0.9))
    assert not len(in_a_row(math.nan, 1.5))


def test_a_callee_that_is_cut_off_is_given_time_although_its_caller_waits_no_longer() -> None:
    found = only(in_a_row(0.5, 0.8, edge={"latency_p999": [0.3, 0.7]}))
    assert found.reason is Reason.TIMEOUT_TOO_SHORT


def test_no_timeout_is_shortened_while_its_callee_is_saturated() -> None:
    assert not len(in_a_row(1.0, 1.0, belief={"saturated": True}))


def test_putting_the_order_right_does_not_cut_off_healthy_answers() -> None:
    found = only(in_a_row(1.0, 1.0, edge={"latency_p999": [0.3, 0.75]}))
    assert found.reason is Reason.TIMEOUT_ORDER
    assert found.proposed == Timeout(pytest.approx(1.3 * 0.75), None)


def test_where_the_caller_does_not_wait_long_enough_the_callee_is_left_alone() -> None:
    assert not len(in_a_row(1.0, 1.1, edge={"latency_p999": [0.3, 0.8]}))


def test_nothing_is_said_of_the_order_where_healthy_answers_are_not_known() -> None:
    assert not len(in_a_row(1.0, 1.1, edge={"latency_p99": math.nan, "latency_p999": math.nan}))


@pytest.mark.parametrize("tail", [0.05, 0.3, 0.6, 0.75, 0.769, 0.8, 2.0])
@pytest.mark.parametrize("start", [0.3, 0.8, 1.0, 1.5, 30.0])
def test_a_callees_timeout_comes_to_rest_where_healthy_answers_fit(tail: float, start: float) -> None:
    second, moves = start, []
    for _ in range(40):
        batch = in_a_row(1.0, second, edge={"latency_p999": [0.3, tail]})
        if not len(batch):
            break
        found = only(batch)
        assert isinstance(found.proposed, Timeout)
        moves.append(found.direction)
        second = found.proposed.request_s
    assert not len(in_a_row(1.0, second, edge={"latency_p999": [0.3, tail]}))
    assert len(set(moves)) <= 1  # never back and forth
    assert second >= min(1.3 * tail, start) * (1 - 1e-6)
