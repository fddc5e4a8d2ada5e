"""In-flight caps: Little's law, room for what matters, and when a cap is moved."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governor.decide.in_flight_cap import GROWTH, MIN_CAP, propose, wanted
from governor.knobs import Direction, InFlightCap
from governor.reasons import Reason
from tests.decide.situations import chain, mesh, one, only, situation

LITTLE = 1800 * (0.02 + 0.01)
"""36 workers at 20 ms, and half of that as the wait that keeps them busy (3 / sqrt(36))."""
CALLED_BY_TWO = ("client front", "client web", "front web")
NO_HIGH = {"offered": [0.0, 200.0]}


def caps(**given: Any) -> tuple[float, float]:
    default, high = wanted(situation(one(), **given))
    return float(default[0]), float(high[0])


def test_the_cap_is_capacity_times_the_stay() -> None:
    assert caps(api=NO_HIGH) == pytest.approx((LITTLE, LITTLE))


def test_the_default_class_leaves_the_high_class_its_room() -> None:
    default, high = caps(api={"offered": [300.0, 1500.0]})
    assert default == pytest.approx(LITTLE - 300 * 0.03)
    assert high == pytest.approx(LITTLE)


def test_a_high_class_that_fills_the_service_leaves_the_default_class_a_twentieth() -> None:
    slow = {"base_latency": 0.2, "path_latency": 0.2}
    total = caps(api=NO_HIGH, belief=slow, policy={"latency_s": 3.0})[0]
    default = caps(api={"offered": [2000.0, 500.0]}, belief=slow, policy={"latency_s": 3.0})[0]
    assert default == pytest.approx(0.05 * total, rel=0.05)
    assert default > MIN_CAP


def test_the_high_class_has_room_for_its_bursts() -> None:
    asked = 1200 * 0.03
    high = caps(api={"offered": [1200.0, 200.0]})[1]
    assert high == pytest.approx(asked + 6 * math.sqrt(asked))
    assert high > LITTLE


def test_where_all_are_of_one_tier_nobody_is_held_back_for_another() -> None:
    default, high = caps(api={"offered": [900.0, 900.0]}, policy={"api_tier": 0})
    assert default == high == pytest.approx(LITTLE)


@pytest.mark.parametrize(
    ("try_s", "stay_s"),
    [
        (10.0, 0.15),  # W 100 ms, tau 3 / sqrt(36) of it
        (0.48, 0.6 * 0.48 / 2),  # half the capacity gone doubles the stay
        (0.40, 0.135),  # the least wait: 35 % of W
    ],
)
@pytest.mark.parametrize("knob", ["per_try_timeout", "timeout"])
def test_the_wait_shrinks_where_a_try_is_given_up_soon(knob: str, try_s: float, stay_s: float) -> None:
    slow = {"capacity": 360.0, "base_latency": 0.1, "path_latency": 0.1}
    default, _ = caps(belief=slow, knobs={knob: try_s}, policy={"latency_s": 1.0}, api=NO_HIGH)
    assert default == pytest.approx(360 * stay_s, rel=1e-5)


def test_the_reserve_is_larger_the_more_of_the_capacity_is_the_high_classs() -> None:
    slow = {"capacity": 360.0, "base_latency": 0.1, "path_latency": 0.1}
    policy = {"latency_s": 1.0}
    default, _ = caps(belief=slow, knobs={"per_try_timeout": 0.6}, policy=policy, api={"offered": [90.0, 200.0]})
    stay = 0.6 * 0.6 / ((1 - 0.25) / (1 - 0.5 - 0.25))
    assert default == pytest.approx(270 * max(stay, 0.135), rel=1e-5)
    assert stay < 0.15


def test_the_wait_grows_by_that_of_each_call_further_on() -> None:
    path = {"path_latency": [0.04, 0.04, 0.02]}
    alone, _ = wanted(situation(chain(), belief=path, edge={"attempts": [200.0, 0.0]}, api=NO_HIGH))
    once, _ = wanted(situation(chain(), belief=path, edge={"attempts": [200.0, 200.0]}, api=NO_HIGH))
    twice, _ = wanted(situation(chain(), belief=path, edge={"attempts": [200.0, 400.0]}, api=NO_HIGH))
    assert alone[0] == pytest.approx(1800 * (0.04 + 0.01))
    assert once[0] == pytest.approx(1800 * (0.04 + 0.01 + 0.01))
    assert twice[0] == pytest.approx(1800 * (0.04 + 0.01 + 2 * 0.01))
    assert once[1] == pytest.approx(LITTLE)


def test_services_that_call_each_other_get_a_finite_cap() -> None:
    default, high = wanted(situation(mesh(("client a", "a b", "b a")), api=NO_HIGH))
    assert np.isfinite(default).all()
    assert np.isfinite(high).all()


def test_an_edge_gets_the_part_that_is_asked_for_over_it() -> None:
    index = mesh(CALLED_BY_TWO)
    default, _ = wanted(situation(index, edge={"rate": [150.0, 300.0, 100.0]}, api=NO_HIGH))
    for edge, share in ((1, 0.75), (2, 0.25)):
        part = LITTLE * share
        assert default[edge] == pytest.approx(part + math.sqrt(part * (1 - share)), rel=1e-6)


def test_what_a_cap_refuses_counts_as_asked_for() -> None:
    index = mesh(CALLED_BY_TWO)
    held = {"rate": [150.0, 300.0, 300.0], "attempts": [150.0, 300.0, 100.0], "overflow": [0.0, 0.0, 200.0]}
    default, _ = wanted(situation(index, edge=held, belief={"calm": False}, api=NO_HIGH))
    assert default[1] == pytest.approx(default[2])


@given(st.floats(0.0, 1.0), st.floats(50.0, 5000.0))
@settings(max_examples=50)
def test_the_caps_of_all_callers_together_are_no_less_than_the_whole(share: float, capacity: float) -> None:
    rate = [150.0, 10.0 + 1000.0 * share, 10.0 + 1000.0 * (1 - share)]
    parts, _ = wanted(
        situation(mesh(CALLED_BY_TWO), edge={"rate": rate}, belief={"capacity": capacity}, api=NO_HIGH)
    )
    whole, _ = wanted(situation(one(), belief={"capacity": capacity}, api=NO_HIGH))
    assert parts[1] + parts[2] >= whole[0] * (1 - 1e-6)


@given(st.floats(1.0, 1e5), st.floats(1.0, 3.0), st.floats(0.0, 500.0), st.floats(0.001, 1.0))
@settings(max_examples=200)
def test_the_default_cap_grows_with_capacity_and_never_falls_below_the_least(
    capacity: float, more: float, high: float, latency: float
) -> None:
    offered = {"offered": [high, 200.0]}
    times = {"base_latency": latency, "path_latency": latency}
    small = caps(belief=times | {"capacity": capacity}, api=offered)
    large = caps(belief=times | {"capacity": capacity * more}, api=offered)
    assert MIN_CAP <= small[0] <= large[0] * (1 + 1e-9)
    assert small[1] >= small[0] * (1 - 1e-9)


@given(st.floats(1.0, 1e5), st.floats(1.0, 3.0), st.floats(0.001, 1.0))
@settings(max_examples=100)
def test_without_bursts_of_its_own_the_high_cap_grows_with_capacity(
    capacity: float, more: float, latency: float
) -> None:
    times = {"base_latency": latency, "path_latency": latency}
    small = caps(belief=times | {"capacity": capacity}, api=NO_HIGH)
    large = caps(belief=times | {"capacity": capacity * more}, api=NO_HIGH)
    assert MIN_CAP <= small[1] <= large[1] * (1 + 1e-9)


def test_an_unknown_capacity_is_bounded_by_half_the_objective() -> None:
    blind = {"capacity": math.nan, "path_latency": math.nan, "base_latency": math.nan}
    assert caps(belief=blind) == pytest.approx((200 * 0.5 / 2,) * 2)
    assert caps(belief=blind, policy={"latency_s": 1.0}) == pytest.approx((200 * 1.0 / 2,) * 2)


def test_an_edge_that_is_hardly_used_is_left_alone() -> None:
    assert not len(propose(situation(one(), edge={"rate": 1.0, "attempts": 1.0})))


@pytest.mark.parametrize("calm", [False, True])
def test_a_missing_cap_is_set_at_once(calm: bool) -> None:
    found = only(propose(situation(one(), api=NO_HIGH, belief={"calm": calm})))
    assert found.current == InFlightCap(None, None)
    assert found.proposed == found.uncapped == InFlightCap(54, 54)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.CAP_MISSING
    assert found.urgent


def set_to(default: float, high: float, **given: Any) -> Any:
    return propose(situation(one(), knobs={"cap_default": default, "cap_high": high}, api=NO_HIGH, **given))


def test_a_cap_that_fits_is_left_alone() -> None:
    for near in (54.0, 48.0, 62.0):
        assert not len(set_to(near, 54.0, belief={"calm": False}))


@pytest.mark.parametrize("saturated", [False, True])
def test_a_cap_that_lets_too_much_in_is_cut_and_at_once_where_the_callee_is_saturated(saturated: bool) -> None:
    found = only(set_to(80.0, 80.0, belief={"calm": False, "saturated": saturated}))
    assert found.proposed == InFlightCap(54, 54)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.CAP_FOLLOWS_CAPACITY
    assert found.urgent is saturated


def test_a_cap_that_is_merely_generous_stays_while_the_callee_is_calm() -> None:
    assert not len(set_to(100.0, 100.0))
    assert len(set_to(100.0, 100.0, belief={"calm": False})) == 1
    assert len(set_to(120.0, 120.0)) == 1


@pytest.mark.parametrize("saturated", [False, True])
def test_a_cap_grows_with_capacity_without_haste(saturated: bool) -> None:
    found = only(set_to(30.0, 30.0, belief={"calm": False, "saturated": saturated}))
    assert found.proposed == InFlightCap(54, 54)
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.CAP_FOLLOWS_CAPACITY
    assert not found.urgent


def test_more_room_for_the_high_class_needs_less_of_a_difference() -> None:
    assert not len(set_to(54.0, 51.0, belief={"calm": False}))
    found = only(set_to(54.0, 49.0, belief={"calm": False}))
    assert found.proposed == InFlightCap(54, 54)


@pytest.mark.parametrize(
    ("now", "then"),
    [(40.0, GROWTH * 40), (20.0, 54), (54.0, GROWTH * 54)],
    ids=["further than the model", "to the model", "although the model says that it fits"],
)
def test_a_cap_that_refuses_what_a_calm_callee_could_carry_is_opened_at_once(now: float, then: float) -> None:
    found = only(set_to(now, 54.0, edge={"overflow": 10.0}))
    assert found.proposed.default == round(then)
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.CAP_TOO_TIGHT
    assert found.urgent


def test_a_refusal_of_a_callee_that_queues_is_what_the_cap_is_for() -> None:
    assert not len(set_to(54.0, 54.0, edge={"overflow": 10.0}, belief={"calm": False}))


def test_a_trace_of_refusals_is_no_reason() -> None:
    assert not len(set_to(54.0, 54.0, edge={"overflow": 3.0}))


def test_where_capacity_is_unknown_the_high_cap_grows_as_well() -> None:
    blind = {"capacity": math.nan, "path_latency": math.nan, "base_latency": math.nan}
    found = only(set_to(50.0, 50.0, edge={"overflow": 10.0}, belief=blind))
    assert found.proposed == InFlightCap(75, 75)
    assert found.urgent
