"""Weights: away from a faulty backend at once, back by steps, and nothing at all when it is the load."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governor.decide import backends
from governor.decide.situation import Situation
from governor.decide.weights import LEAST_SHARE, MOST_FLOOR, propose, wanted
from governor.knobs import BackendWeights, Direction
from governor.reasons import Reason
from tests.decide.situations import RATE, chain, frame, knobs_set, one, only, situation

SLOW_S = 0.2
FLOOR_SLOW = (1 - 0.99) / 2


def pool(
    size: int,
    *,
    slow: int = 0,
    failing: int = 0,
    error_share: float = 0.5,
    share: list[float] | None = None,
    windows: int = 1,
    rate: float = RATE,
    times: float = 10.0,
    **given: Any,
) -> Situation:
    """`size` backends that have looked the same for `windows` windows: the first `slow` or `failing` of them."""
    index = one(pool=size)
    each = rate * np.array(share or [1 / size] * size)
    latency = 0.02 * np.where(np.arange(size) < slow, times, 1.0)
    errors = each * np.where(np.arange(size) < failing, error_share, 0.0)
    edge = {"rate": rate} | given.pop("edge", {})
    seen = frame(index, edge=edge, backend={"rate": each, "errors": errors, "in_flight": each * latency})
    knobs = {"weight": share} if share else {}
    evidence = backends.BackendEvidence.none(size)
    for _ in range(windows):
        evidence, _ = backends.update(evidence, seen, knobs_set(index, knobs).weight)
    return situation(index, window=seen, evidence=evidence, knobs=knobs, **given)


def shares(s: Situation) -> list[float]:
    value = only(propose(s)).proposed
    assert isinstance(value, BackendWeights)
    return [share for _, share in value.shares]


def test_a_pool_that_is_well_is_left_alone() -> None:
    assert not len(propose(pool(4)))
    assert not len(propose(situation(one())))


def test_a_slow_backend_is_seen_in_its_first_window_and_left_at_once() -> None:
    found = only(propose(pool(4, slow=1)))
    assert found.proposed == found.uncapped
    assert found.direction is Direction.SHIFT
    assert found.reason is Reason.BACKEND_SLOW
    assert found.urgent
    rest = (1 - FLOOR_SLOW) / 3
    assert shares(pool(4, slow=1)) == pytest.approx([FLOOR_SLOW, rest, rest, rest], abs=1e-4)
    assert found.traffic == pytest.approx(RATE * (0.25 - FLOOR_SLOW), rel=1e-4)


def test_a_failing_backend_is_seen_in_its_first_window_and_left_at_once() -> None:
    found = only(propose(pool(4, failing=1)))
    assert found.direction is Direction.SHIFT
    assert found.reason is Reason.BACKEND_FAILING
    assert found.urgent
    assert "10.0.0.0 of client|web fails 50.0%" in found.summary


@pytest.mark.parametrize("times", [1.0, 2.9])
def test_a_backend_less_than_three_times_as_slow_is_left_alone(times: float) -> None:
    assert not len(propose(pool(4, slow=1, times=times)))


@pytest.mark.parametrize("share", [0.0, 0.04])
def test_a_few_failures_are_left_alone(share: float) -> None:
    assert not len(propose(pool(4, failing=1, error_share=share)))


def test_few_looks_at_few_requests_are_chance() -> None:
    busy = {"rate": [6.7, 6.7, 6.7], "in_flight": [0.17, 0.17, 0.63]}
    s = situation(one(pool=3), edge={"rate": 20.0}, backend=busy)
    assert s.found.known.all()
    assert not s.found.slow.any()
    often = replace(s.backends, looks=np.full(3, 1e6))
    assert backends.judge(often, s.frame.index.backend_edge).slow.tolist() == [False, False, True]


def test_one_that_fails_little_more_than_the_others_is_not_to_blame() -> None:
    def faulty(worst: float) -> bool:
        errors = {"errors": [0.1 * RATE / 3, 0.1 * RATE / 3, worst * RATE / 3]}
        return bool(situation(one(pool=3), backend=errors).found.failing[2])

    assert not faulty(0.38)
    assert faulty(0.42)


def test_failures_of_the_whole_pool_are_the_load() -> None:
    s = pool(4, failing=4)
    assert not s.found.failing.any()
    assert not len(propose(s))


@pytest.mark.parametrize(
    ("policy", "error_share", "floor"),
    [
        ({"availability": 0.999}, 0.5, 0.001),  # half of 0.1 % / 50 %
        ({"availability": 0.99}, 1.0, 0.005),
        ({"availability": 0.99}, 0.5, 0.005),  # the latency objective spares no more
        ({"availability": 0.99, "quantile": 0.95}, 0.5, 0.010),
        ({"availability": 0.9, "quantile": 0.9}, 0.5, MOST_FLOOR),
        ({"availability": 0.9999}, 1.0, LEAST_SHARE),
    ],
)
def test_the_floor_of_a_failing_backend_is_what_the_objective_does_not_see(
    policy: dict[str, float], error_share: float, floor: float
) -> None:
    assert shares(pool(4, failing=1, error_share=error_share, policy=policy))[0] == pytest.approx(floor, abs=1e-4)


@pytest.mark.parametrize(
    ("quantile", "floor"), [(0.99, 0.005), (0.98, 0.01), (0.9, MOST_FLOOR), (0.999, LEAST_SHARE)]
)
def test_the_floor_of_a_slow_backend_is_half_of_what_the_quantile_leaves_out(
    quantile: float, floor: float
) -> None:
    assert shares(pool(4, slow=1, policy={"quantile": quantile}))[0] == pytest.approx(floor, abs=1e-4)


def test_the_good_ones_share_as_the_operator_has_it() -> None:
    own = [0.25, 0.375, 0.25, 0.125]
    found = shares(pool(4, slow=1, own_share=own, share=own))
    assert found[1:] == pytest.approx([(1 - FLOOR_SLOW) * w / 0.75 for w in own[1:]], abs=1e-4)


def test_one_of_three_is_one() -> None:
    assert only(propose(pool(3, slow=1))).reason is Reason.BACKEND_SLOW
    assert only(propose(pool(3, failing=1))).reason is Reason.BACKEND_FAILING


@pytest.mark.parametrize(("size", "faulty"), [(3, 2), (5, 2), (6, 2)])
@pytest.mark.parametrize("how", ["slow", "failing"])
def test_more_than_one_and_more_than_thirty_percent_are_the_load(how: str, size: int, faulty: int) -> None:
    assert not len(propose(pool(size, **{how: faulty})))


def test_two_of_seven_are_two_faulty_ones() -> None:
    assert shares(pool(7, slow=2))[:2] == pytest.approx([FLOOR_SLOW, FLOOR_SLOW], abs=1e-4)


def test_a_lone_backend_has_no_peers_to_be_worse_than() -> None:
    s = pool(1, slow=1, failing=1, error_share=1.0)
    found = s.found
    assert not found.slow.any()
    assert not found.failing.any()
    assert not len(propose(s))


@pytest.mark.parametrize(("capacity", "moved"), [(RATE / 0.75 / 0.91, 0), (RATE / 0.75 / 0.89, 1)])
def test_nothing_moves_where_the_rest_could_not_carry_the_load(capacity: float, moved: int) -> None:
    # Without the one backend the others have three quarters of the capacity; nine tenths of it may be used.
    assert len(propose(pool(4, slow=1, belief={"capacity": capacity}))) == moved


def test_where_capacity_is_unknown_the_rest_is_taken_to_carry_it() -> None:
    assert len(propose(pool(4, slow=1, belief={"capacity": math.nan}))) == 1


LOW = [0.005, 0.335, 0.33, 0.33]


@pytest.mark.parametrize(("share", "then"), [(0.005, 0.105), (0.105, 0.205)])
def test_a_recovered_backend_comes_back_by_a_tenth_of_the_pool(share: float, then: float) -> None:
    low = [share, *[(1 - share) / 3] * 3]
    found = only(propose(pool(4, share=low, windows=6)))
    value = found.proposed
    assert isinstance(value, BackendWeights)
    assert value.shares[0] == ("10.0.0.0", pytest.approx(then, abs=1e-4))
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.BACKEND_RECOVERED
    assert not found.urgent


def test_the_last_step_back_ends_at_the_operators_share() -> None:
    own = [0.1, 0.3, 0.3, 0.3]
    assert shares(pool(4, share=LOW, windows=6, own_share=own)) == pytest.approx(own, abs=1e-4)


def test_a_canary_stays_where_its_operator_put_it() -> None:
    canary = [0.05, 0.35, 0.3, 0.3]
    assert not len(propose(pool(4, share=canary, windows=20, own_share=canary)))


def test_a_backend_comes_back_only_after_four_good_windows() -> None:
    assert not len(propose(pool(4, share=LOW, windows=3)))
    assert len(propose(pool(4, share=LOW, windows=4))) == 1


def test_a_backend_that_is_still_slow_stays_where_it_is() -> None:
    assert not len(propose(pool(4, share=LOW, windows=6, slow=1)))


def test_evidence_on_few_requests_is_kept_until_there_is_enough_to_judge() -> None:
    few = [0.001, 0.333, 0.333, 0.333]  # 3 requests a window

    def known(windows: int) -> bool:
        s = pool(4, share=few, windows=windows)
        return bool(s.found.known[0])

    assert not known(4)
    assert known(6)


def test_a_busy_backend_is_judged_by_its_last_windows() -> None:
    index = one(pool=4)
    evidence = pool(4, windows=20).backends
    slow = frame(index, backend={"in_flight": [10.0, 1.0, 1.0, 1.0]})
    well = frame(index)
    evidence, _ = backends.update(evidence, slow, knobs_set(index).weight)
    assert backends.judge(evidence, index.backend_edge).slow[0]
    for _ in range(3):
        evidence, _ = backends.update(evidence, well, knobs_set(index).weight)
    assert not backends.judge(evidence, index.backend_edge).slow[0]


def test_what_a_backend_did_with_another_share_says_nothing() -> None:
    index = one(pool=4)
    even = knobs_set(index, {"weight": 0.25}).weight
    evidence, _ = backends.update(backends.BackendEvidence.none(4), frame(index), even)
    nobody = frame(index, backend={"rate": 0.0, "in_flight": 0.0})
    kept, _ = backends.update(evidence, nobody, knobs_set(index, {"weight": [0.13, 0.29, 0.29, 0.29]}).weight)
    fresh, _ = backends.update(evidence, nobody, knobs_set(index, {"weight": [0.125, 0.29, 0.29, 0.295]}).weight)
    assert kept.attempts[0] > 0
    assert fresh.attempts[0] == 0
    assert fresh.attempts[1] > 0


def test_a_backend_that_gets_too_little_to_judge_by_is_given_more_after_a_minute() -> None:
    starved = [0.0003, 0.3333, 0.3332, 0.3332]  # one request a window
    assert not len(propose(pool(4, share=starved, windows=4)))
    found = shares(pool(4, share=starved, windows=6))
    assert found[0] == pytest.approx(MOST_FLOOR, abs=1e-4)


def test_an_edge_without_traffic_is_left_alone() -> None:
    assert not len(propose(pool(4, slow=1, edge={"rate": 0.0, "attempts": RATE})))


def test_pools_are_judged_apart() -> None:
    s = situation(chain(pool=4), backend={"in_flight": [1.0] * 4 + [10.0, 1.0, 1.0, 1.0]})
    found = only(propose(s))
    assert found.target.name == "front|back"
    assert shares(s)[0] == pytest.approx(FLOOR_SLOW, abs=1e-4)


AMOUNTS = st.lists(st.just(0.0) | st.floats(0.01, 100.0), min_size=4, max_size=4)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
@settings(max_examples=100)
def test_whatever_is_measured_shares_are_positive_and_sum_to_one(
    rate: list[float], errors: list[float], flight: list[float], weight: list[float], own: list[float]
) -> None:
    def share(values: list[float]) -> np.ndarray:
        positive = np.array(values) + 0.1
        return positive / positive.sum()

    s = situation(
        one(pool=4),
        backend={"rate": rate, "errors": errors, "in_flight": flight},
        knobs={"weight": share(weight)},
        own_share=share(own),
    )
    found = wanted(s)
    assert found.sum() == pytest.approx(1.0)
    assert (found > 0).all()


@given(st.permutations(range(4)))
@settings(max_examples=24)
def test_the_order_of_backends_does_not_matter(order: list[int]) -> None:
    flight, errors = np.array([10.0, 1.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 0.0])
    own = np.array([0.1, 0.2, 0.3, 0.4])

    def found(which: list[int]) -> list[float]:
        backend = {"in_flight": flight[which], "errors": errors[which]}
        return shares(situation(one(pool=4), backend=backend, own_share=own[which]))

    assert found(order) == pytest.approx(np.array(found([0, 1, 2, 3]))[order].tolist())
