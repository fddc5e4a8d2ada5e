"""Minimum, maximum and step of each knob, and what an urgent or a flapping change may do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.guard.bounds import bounded, within_dead_band
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    Proposal,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.policy_view import KnobRule
from governor.reasons import Reason

RULE = KnobRule(minimum=10.0, maximum=200.0, step_up=0.25, step_down=0.5)


def proposal(now: KnobValue, new: KnobValue, *, urgent: bool = False) -> Proposal:
    hypothesis = Hypothesis("success_rate", 0.9, 30.0)
    target = Target(TargetKind.EDGE, "e0")
    words: Any = (Direction.TIGHTEN, Reason.OVERLOAD, "", {}, hypothesis, 1.0, 1.0, urgent)
    return Proposal(target, Knob.TIMEOUT, now, new, new, *words)


def limited(
    now: KnobValue, new: KnobValue, rule: KnobRule = RULE, *, urgent: bool = False, flapping: bool = False
) -> KnobValue:
    """The value that is left of `new`; what the law wanted must stay beside it."""
    found = bounded(proposal(now, new, urgent=urgent), rule, flapping=flapping)
    assert (found.current, found.uncapped) == (now, new)
    return found.proposed


@pytest.mark.parametrize(
    ("now", "new", "expected"),
    [
        (100.0, 110.0, 110.0),
        (100.0, 180.0, 125.0),  # a step up
        (100.0, 20.0, 50.0),  # a step down
        (190.0, 230.0, 200.0),  # the maximum
        (12.0, 3.0, 10.0),  # the minimum
        (None, 80.0, 80.0),  # nothing set: no step
        (None, 3.0, 10.0),
        (100.0, None, None),  # released
    ],
)
def test_rate_limits(now: float | None, new: float | None, expected: float | None) -> None:
    assert limited(RateLimit(now), RateLimit(new)) == RateLimit(expected)


def test_an_urgent_cut_passes_the_step_but_not_the_bounds() -> None:
    assert limited(RateLimit(100.0), RateLimit(20.0), urgent=True) == RateLimit(20.0)
    assert limited(RateLimit(100.0), RateLimit(2.0), urgent=True) == RateLimit(10.0)


def test_a_flapping_knob_moves_half_the_way_unless_it_is_urgent() -> None:
    assert limited(RateLimit(100.0), RateLimit(80.0), flapping=True) == RateLimit(90.0)
    assert limited(RateLimit(100.0), RateLimit(180.0), flapping=True) == RateLimit(125.0)
    assert limited(RateLimit(100.0), RateLimit(80.0), flapping=True, urgent=True) == RateLimit(80.0)
    assert limited(RateLimit(None), RateLimit(80.0), flapping=True) == RateLimit(80.0)


def test_both_classes_of_a_cap_are_limited_to_whole_requests() -> None:
    assert limited(InFlightCap(101, None), InFlightCap(10, 300)) == InFlightCap(50, 200)
    assert limited(InFlightCap(21, 30), InFlightCap(99, None)) == InFlightCap(26, None)


def test_a_retry_budget_has_bounds_and_no_step_and_its_attempts_stay() -> None:
    rule = KnobRule(minimum=0.05, maximum=0.2, step_down=0.1, step_up=0.1)
    now = RetryPolicy(3, 0.2)
    assert limited(now, RetryPolicy(3, 0.0), rule) == RetryPolicy(3, 0.05)
    assert limited(RetryPolicy(3, None), RetryPolicy(3, 0.9), rule) == RetryPolicy(3, 0.2)
    assert limited(now, RetryPolicy(3, None), rule) == RetryPolicy(3, None)


def test_a_timeout_is_limited_and_its_tries_stay() -> None:
    rule = KnobRule(minimum=0.5, maximum=2.0, step_up=0.25, step_down=0.5)
    assert limited(Timeout(1.0, 0.3), Timeout(9.0, 0.3), rule) == Timeout(1.25, 0.3)
    assert limited(Timeout(0.6, None), Timeout(0.1, None), rule) == Timeout(0.5, None)


def test_weights_are_lifted_to_the_floor_and_sum_to_one_again() -> None:
    rule = KnobRule(minimum=0.05)
    value = BackendWeights((("a", 0.99), ("b", 0.01)))
    assert limited(value, value, rule) == BackendWeights((("a", 0.95), ("b", 0.05)))


def test_a_share_that_gives_stops_at_the_floor_too() -> None:
    value = BackendWeights((("a", 0.75), ("b", 0.21), ("c", 0.04)))
    assert limited(value, value, KnobRule(minimum=0.2)) == BackendWeights((("a", 0.6), ("b", 0.2), ("c", 0.2)))


def test_a_floor_that_cannot_hold_becomes_an_even_share() -> None:
    value = BackendWeights((("a", 0.9), ("b", 0.05), ("c", 0.03), ("d", 0.02)))
    even = BackendWeights(tuple((name, 0.25) for name in "abcd"))
    assert limited(value, value, KnobRule(minimum=0.5)) == even


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any), st.integers(0, 3000))
def test_weights_always_sum_to_one_and_none_is_below_the_floor(parts: list[int], floor: int) -> None:
    value = BackendWeights(tuple((f"b{i}", part / sum(parts)) for i, part in enumerate(parts)))
    found = limited(value, value, KnobRule(minimum=floor / 10_000))
    assert isinstance(found, BackendWeights)
    shares = [share for _, share in found.shares]
    assert sum(shares) == pytest.approx(1.0, abs=1e-4 * len(shares))
    assert min(shares) >= min(floor / 10_000, 1 / len(shares)) - 1e-4
    assert [name for name, _ in found.shares] == [name for name, _ in value.shares]


@pytest.mark.parametrize("value", [OutlierDetection(0.9, 5), ConnectionLimits(5000, None)])
def test_knobs_of_several_units_have_no_bounds(value: KnobValue) -> None:
    assert limited(type(value)(None, None), value) == value  # type: ignore[call-arg,arg-type]


NUMBER = st.floats(0.01, 1e6)


@given(st.none() | NUMBER, NUMBER, st.floats(0, 1e3), st.floats(0, 1e6), st.booleans(), st.booleans())
def test_a_bounded_value_is_always_within_minimum_and_maximum(
    now: float | None, new: float, minimum: float, more: float, urgent: bool, flapping: bool
) -> None:
    rule = KnobRule(minimum=minimum, maximum=minimum + more)
    value = limited(RateLimit(now), RateLimit(new), rule, urgent=urgent, flapping=flapping)
    assert isinstance(value, RateLimit)
    assert value.requests_per_second is not None
    assert rule.minimum <= value.requests_per_second <= rule.maximum


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.floats(0, 1000), st.floats(1, 10**6), st.booleans())
def test_a_bounded_cap_is_always_within_minimum_and_maximum(
    now: int, new: int, minimum: float, more: float, urgent: bool
) -> None:
    rule = KnobRule(minimum=minimum, maximum=minimum + more)
    value = limited(InFlightCap(now, None), InFlightCap(new, new), rule, urgent=urgent)
    assert isinstance(value, InFlightCap)
    assert value.default is not None
    assert value.high is not None
    assert rule.minimum <= value.default <= rule.maximum
    assert rule.minimum <= value.high <= rule.maximum


@given(NUMBER, NUMBER, st.floats(0, 5), st.floats(0, 1))
def test_a_calm_change_is_never_longer_than_its_step(now: float, new: float, up: float, down: float) -> None:
    rule = KnobRule(step_up=up, step_down=down)
    value = limited(RateLimit(now), RateLimit(new), rule)
    assert isinstance(value, RateLimit)
    assert value.requests_per_second is not None
    assert now * (1 - down) * (1 - 1e-9) <= value.requests_per_second <= now * (1 + up) * (1 + 1e-9)


SINGLE = float(np.float32(0.1))
TENTH = KnobRule(dead_band=0.1)


def weights(*shares: float) -> BackendWeights:
    return BackendWeights(tuple((f"b{i}", share) for i, share in enumerate(shares)))


@pytest.mark.parametrize(
    ("now", "new", "small"),
    [
        (RateLimit(100.0), RateLimit(109.0), True),
        (RateLimit(100.0), RateLimit(91.0), True),
        (RateLimit(100.0), RateLimit(110.0), False),
        (RateLimit(100.0), RateLimit(90.0), False),
        (RateLimit(None), RateLimit(100.0), False),  # set for the first time
        (RateLimit(100.0), RateLimit(None), False),  # released
        (RateLimit(0.0), RateLimit(0.5), False),  # of nothing, everything is much
        (InFlightCap(100, 100), InFlightCap(105, 109), True),
        (InFlightCap(100, 100), InFlightCap(100, 110), False),  # one of two is enough
        (InFlightCap(100, None), InFlightCap(101, None), True),
        (InFlightCap(100, None), InFlightCap(101, 50), False),
        (RetryPolicy(2, 0.2), RetryPolicy(2, 0.19), True),
        (RetryPolicy(2, 0.2), RetryPolicy(2, 0.1), False),
        (RetryPolicy(2, 0.0), RetryPolicy(2, 0.05), False),
        (Timeout(SINGLE, None), Timeout(0.1, None), True),
        (Timeout(1.0, 0.25), Timeout(0.9, 0.25), False),
        (OutlierDetection(0.1, 5), OutlierDetection(0.1, 5), True),
        (OutlierDetection(0.1, 5), OutlierDetection(0.1, 3), False),
        (ConnectionLimits(100, 1024), ConnectionLimits(101, 1024), True),
        (weights(0.3, 0.7), weights(0.39, 0.61), True),
        (weights(0.3, 0.7), weights(0.4, 0.6), False),
        (weights(0.05, 0.95), weights(0.1, 0.9), True),  # of the edge's traffic, not of the share
        (weights(0.5, 0.5), weights(0.5, 0.5, 0.0), False),
    ],
)
def test_a_change_below_the_dead_band_is_small(now: KnobValue, new: KnobValue, small: bool) -> None:
    assert within_dead_band(proposal(now, new), TENTH) is small


@pytest.mark.parametrize(("new", "small"), [(SINGLE, True), (0.1001, False)])
def test_without_a_dead_band_only_what_is_equal_in_single_precision_is_small(new: float, small: bool) -> None:
    none = KnobRule(dead_band=0.0)
    assert within_dead_band(proposal(Timeout(0.1, None), Timeout(new, None)), none) is small


@given(st.floats(1.0, 1e6), st.floats(0.0, 0.99), st.floats(-0.99, 3.0))
def test_the_unit_of_a_dead_band_is_what_is_set(now: float, dead_band: float, change: float) -> None:
    rule, new = KnobRule(dead_band=dead_band), now * (1.0 + change)
    near = abs(abs(change) - dead_band) < 1e-5
    assert near or within_dead_band(proposal(RateLimit(now), RateLimit(new)), rule) is (abs(change) < dead_band)
