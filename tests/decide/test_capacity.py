"""What one window teaches about a service's capacity, and what it must not teach."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from governor.decide.capacity import BASE_DRIFT, CapacityBelief, update, with_work_time
from governor.decide.load import ServiceLoad, service_load
from tests.decide.situations import believed, frame, mesh, one

CORES = 10.0
KNOWN = {"capacity": 1000.0, "seen": 500.0}
QUEUEING_S = 0.1


def look(
    belief: CapacityBelief,
    *,
    done: float = 500.0,
    arrived: float | None = None,
    latency_s: float = 0.02,
    use: float = math.nan,
    refused: bool = False,
    parts: list[float] | None = None,
    window_s: float = 15.0,
    fastest_s: float | None = None,
    timed_out: float = 0.0,
) -> CapacityBelief:
    """`belief` after one window of the service at position 1."""
    index = one(pool=2)
    attempts = done if arrived is None else arrived
    quick, slow = latency_s if fastest_s is None else fastest_s, latency_s
    seen = frame(
        index,
        window_s=window_s,
        edge={"rate": attempts, "timeouts": timed_out},
        service={"completions": done, "server_latency": latency_s, "cpu_used": use * CORES, "cpu_limit": CORES},
        backend={"in_flight": [attempts / 2 * quick, attempts / 2 * slow]},
    )
    arrivals = None if parts is None else np.array([[math.nan, part] for part in parts])
    return update(belief, service_load(seen), np.full(2, 0.5), window_s, np.full(2, refused), arrivals)


def known(**given: float | bool) -> CapacityBelief:
    return believed(one(pool=2), KNOWN | given)


NOTHING = CapacityBelief.unknown(2)


def test_capacity_is_what_the_cpu_has_room_for() -> None:
    assert look(NOTHING, done=400.0, use=0.5).capacity[1] == pytest.approx(400 / 0.5)


def test_a_known_capacity_follows_slowly_while_nothing_queues() -> None:
    moved = look(known(), done=400.0, use=0.5).capacity[1]
    assert moved == pytest.approx(1000 * (800 / 1000) ** 0.25)


@pytest.mark.parametrize("use", [0.0, 0.01])
def test_an_idle_cpu_says_nothing(use: float) -> None:
    assert look(known(), done=400.0, use=use).capacity[1] == 1000.0


def test_a_use_that_is_not_known_says_nothing() -> None:
    assert math.isnan(look(NOTHING, done=600.0, use=math.nan).capacity[1])
    assert math.isnan(
        look(NOTHING, done=600.0, use=3.0).capacity[1]
    )  # more than is allowed: the limit is not all


def test_too_few_requests_say_nothing() -> None:
    found = look(known(), done=2.0, use=0.9, latency_s=QUEUEING_S)
    assert (found.capacity[1], found.base_latency[1], found.saturated[1]) == (1000.0, 0.02, False)
    assert look(known(), done=3.0, use=0.9).capacity[1] < 1000.0


def test_a_neighbour_that_takes_cores_is_believed_at_once_when_the_pool_queues() -> None:
    found = look(known(), done=600.0, arrived=650.0, use=0.6, latency_s=QUEUEING_S)
    assert found.saturated[1]
    assert found.top_use[1] == pytest.approx(0.6)
    assert found.capacity[1] == pytest.approx(600.0)


def test_a_first_window_of_a_neighbour_that_began_within_it_is_corrected_by_the_next() -> None:
    crowd = {"done": 600.0, "arrived": 650.0, "latency_s": QUEUEING_S}
    mixed = look(known(), **(crowd | {"done": 720.0, "arrived": 800.0}), use=0.72)
    found = look(mixed, **crowd, use=0.6)
    assert (mixed.top_use[1], found.top_use[1]) == (pytest.approx(0.72), pytest.approx(0.6))
    assert found.capacity[1] == pytest.approx(600.0)


def test_a_pool_that_does_not_queue_shows_no_neighbour() -> None:
    found = look(known(), done=600.0, use=0.6)
    assert (found.top_use[1], found.capacity[1]) == (1.0, pytest.approx(1000.0))


def test_queueing_a_little_below_full_use_shows_no_neighbour_unless_one_is_known() -> None:
    crowd = {"done": 600.0, "arrived": 650.0, "latency_s": QUEUEING_S}
    assert look(known(), use=0.9, **crowd).top_use[1] == 1.0
    assert look(known(top_use=0.6), use=0.55, **crowd).top_use[1] == pytest.approx(0.55)


def test_a_top_use_moves_up_with_use() -> None:
    assert look(known(top_use=0.6), done=700.0, use=0.7).top_use[1] == pytest.approx(0.7)


def test_a_calm_window_at_the_top_use_disproves_it_at_once_where_demand_was_refused() -> None:
    narrowed = known(top_use=0.6, capacity=600.0)
    found = look(narrowed, done=580.0, use=0.58, refused=True)
    assert found.calm[1]
    assert found.top_use[1] == 1.0
    assert found.capacity[1] == pytest.approx(1000.0)


@pytest.mark.parametrize(
    "window",
    [
        {"done": 580.0, "use": 0.58},  # nobody was refused
        {"done": 500.0, "use": 0.50, "refused": True},  # too far below it
        {"done": 580.0, "use": 0.58, "refused": True, "latency_s": 0.03},  # not calm
    ],
)
def test_a_top_use_stands_until_it_is_disproved(window: dict[str, Any]) -> None:
    assert look(known(top_use=0.6, capacity=600.0), **window).top_use[1] == 0.6


def test_one_slow_replica_is_not_saturation() -> None:
    assert look(known(), latency_s=QUEUEING_S, fastest_s=QUEUEING_S).saturated[1]
    found = look(known(), latency_s=QUEUEING_S, fastest_s=0.02)
    assert not found.saturated[1]
    assert found.capacity[1] == 1000.0


def test_time_outs_of_the_whole_pool_are_saturation() -> None:
    assert look(known(), timed_out=150.0, latency_s=0.035).saturated[1]
    assert not look(known(), timed_out=50.0, latency_s=0.035).saturated[1]
    assert not look(known(), timed_out=150.0, latency_s=0.035, fastest_s=0.02).saturated[1]


def test_used_up_cpu_is_saturation_whatever_the_latency() -> None:
    assert look(known(), done=950.0, use=0.96).saturated[1]
    assert not look(known(), done=930.0, use=0.93).saturated[1]


@pytest.mark.parametrize("use", [math.nan, 1.0])
def test_a_draining_queue_teaches_nothing_downward(use: float) -> None:
    crowd = {"done": 600.0, "latency_s": 0.3, "use": use}
    assert look(known(), arrived=600.0, **crowd).capacity[1] == pytest.approx(600.0)
    drained = look(known(), arrived=450.0, **crowd)
    assert (drained.capacity[1], drained.seen[1], drained.top_use[1]) == (1000.0, 600.0, 1.0)


def test_a_draining_queue_at_low_use_shows_no_neighbour() -> None:
    drained = look(known(), done=600.0, arrived=450.0, use=0.6, latency_s=0.3)
    assert (drained.top_use[1], drained.capacity[1]) == (1.0, pytest.approx(1000.0))


def test_a_draining_queue_may_show_more_capacity_than_was_known() -> None:
    assert look(known(), done=1400.0, arrived=1000.0, use=1.0, latency_s=0.3).capacity[1] == pytest.approx(1400.0)


def test_a_base_latency_rises_by_little_in_a_quiet_window_and_falls_fast() -> None:
    assert look(known(), use=0.5, latency_s=0.022).base_latency[1] == pytest.approx(0.02 + 0.05 * 0.002)
    assert look(known(), use=0.5, latency_s=0.039).base_latency[1] == pytest.approx(BASE_DRIFT * 0.02)
    assert look(known(), use=0.5, latency_s=0.039).path_latency[1] == pytest.approx(BASE_DRIFT * 0.02)
    assert look(known(), use=0.5, latency_s=0.01).base_latency[1] == pytest.approx(0.02 - 0.3 * 0.01)


@pytest.mark.parametrize(
    "window",
    [
        {"use": 0.88},  # busy
        {"latency_s": QUEUEING_S},  # saturated
        {"done": 500.0, "arrived": 400.0},  # a queue drains
        {"done": 2.0},  # too few
    ],
)
def test_a_base_latency_does_not_move_in_other_windows(window: dict[str, Any]) -> None:
    found = look(known(), **({"latency_s": 0.03, "use": 0.5} | window))
    assert (found.base_latency[1], found.path_latency[1]) == (0.02, 0.02)


def test_the_first_base_latency_is_that_of_the_first_quiet_window() -> None:
    assert look(NOTHING, latency_s=0.03, use=0.5).base_latency[1] == pytest.approx(0.03)
    assert math.isnan(look(NOTHING, latency_s=0.6, use=0.5).base_latency[1])


def test_until_a_quiet_window_the_work_of_a_request_stands_for_its_base_latency() -> None:
    load = service_load(frame(one(), service={"completions": 500.0}))
    found = with_work_time(NOTHING, np.array([math.nan, 8.0]), load)
    assert (found.base_latency[1], found.path_latency[1]) == (pytest.approx(0.016), pytest.approx(0.016))
    assert with_work_time(known(), np.array([math.nan, 8.0]), load).base_latency[1] == 0.02


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ([1100.0, 1050.0, 900.0], 50.0),
        ([900.0, 1050.0, 1100.0], 150.0),  # what was idle before cannot be caught up
        ([1900.0, 900.0, 900.0], 80.0),  # no more than 280 wait at any time: the rest was refused
        ([math.nan, 1100.0, 1100.0], 200.0),  # unknown: the window's mean, which here is what was done
    ],
)
def test_the_queue_follows_the_flow_second_by_second(parts: list[float], left: float) -> None:
    found = look(known(), done=1000.0, latency_s=0.3, parts=parts, window_s=3.0)
    assert found.queued[1] == pytest.approx(left)


@given(st.lists(st.floats(0.0, 1e5), min_size=1, max_size=6), st.floats(0.0, 1e6), st.floats(0.0, 5.0))
@settings(max_examples=50)
def test_the_queue_is_never_longer_than_latency_shows(parts: list[float], old: float, latency_s: float) -> None:
    found = look(known(queued=old), done=1000.0, latency_s=latency_s, parts=parts)
    assert 0.0 <= found.queued[1] <= 1000 * max(latency_s - 0.02, 0.0) * (1 + 1e-6)


def test_a_queue_never_seen_before_is_what_latency_shows() -> None:
    found = look(known(queued=math.nan), done=1000.0, arrived=1000.0, latency_s=0.3)
    assert found.queued[1] == pytest.approx(280.0)


def test_an_idle_cpu_means_that_nothing_waits() -> None:
    more = {"done": 1000.0, "latency_s": 0.035, "parts": [1100.0]}
    drifted = BASE_DRIFT * 0.02
    assert look(known(), **more).queued[1] == pytest.approx(1000 * (0.035 - drifted))
    assert look(known(), use=0.92, **more).queued[1] == pytest.approx(15.0)
    assert look(known(), use=0.5, **more).queued[1] == 0.0


def test_without_cpu_a_saturated_service_can_do_what_it_does() -> None:
    found = look(known(), done=600.0, arrived=650.0, latency_s=QUEUEING_S)
    assert found.capacity[1] == pytest.approx(600.0)
    assert look(NOTHING, done=600.0, arrived=650.0, latency_s=0.6).capacity[1] == pytest.approx(600.0)


def test_without_cpu_a_calm_service_shows_only_a_lower_bound() -> None:
    found = look(NOTHING, done=600.0)
    assert math.isnan(found.capacity[1])
    assert found.seen[1] == found.low[1] == 600.0


def test_without_cpu_a_calm_service_that_refuses_is_probed_upward() -> None:
    raised = 1000 * 1.5**0.25
    assert look(known(), done=900.0, refused=True).capacity[1] == pytest.approx(raised)
    assert look(known(), done=900.0).capacity[1] == 1000.0
    assert look(known(), done=600.0, refused=True).capacity[1] == 1000.0
    assert look(known(), done=900.0, refused=True, latency_s=0.03).capacity[1] == 1000.0


def test_what_was_seen_is_forgotten_slowly_and_at_once_when_saturated() -> None:
    assert look(known(seen=800.0), done=500.0).seen[1] == pytest.approx(0.98 * 800)
    assert look(known(seen=800.0), done=900.0).seen[1] == 900.0
    assert look(known(seen=800.0), done=500.0, arrived=550.0, latency_s=QUEUEING_S).seen[1] == 500.0


def test_the_lower_bound_is_no_lower_than_what_was_seen_unless_saturated() -> None:
    assert known(spread=0.1).low[1] == pytest.approx(1000 * (1 - 0.164))
    assert known(spread=0.1, seen=900.0).low[1] == 900.0
    assert known(spread=0.1, seen=900.0, saturated=True).low[1] == pytest.approx(1000 * (1 - 0.164))
    assert known(spread=9.0).low[1] == pytest.approx(700.0)


def test_samples_that_agree_narrow_the_spread() -> None:
    belief = known(spread=0.1)
    for _ in range(20):
        belief = look(belief, done=500.0, use=0.5)
    assert belief.spread[1] == pytest.approx(0.0115, abs=0.002)
    assert look(belief, done=400.0, use=0.5).spread[1] > 5 * belief.spread[1]


THREE = mesh(("a b", "b c", "a c"))
SIGNALS = ("arrivals", "completions", "timeout_share", "latency", "own_latency", "pool_latency", "utilisation")


@st.composite
def windows(draw: st.DrawFn) -> tuple[ServiceLoad, np.ndarray, np.ndarray]:
    """Anything that can be measured of three services, or nothing; who refused; arrivals in four parts."""
    missing = st.just(math.nan)
    plain = missing | st.floats(0.0, 1e6, width=32)
    share = missing | st.floats(0.0, 1.0, width=32)
    kinds = {"timeout_share": share, "utilisation": missing | st.floats(0.0, 4.0, width=32)}
    empty = service_load(frame(THREE))
    columns = {name: draw(hnp.arrays(np.float64, 3, elements=kinds.get(name, plain))) for name in SIGNALS}
    refused = draw(hnp.arrays(np.bool_, 3))
    return replace(empty, **columns), refused, draw(hnp.arrays(np.float64, (4, 3), elements=plain))


def after(seen: list[tuple[ServiceLoad, np.ndarray, np.ndarray]]) -> CapacityBelief:
    belief = CapacityBelief.unknown(3)
    for load, refused, arrivals in seen:
        belief = update(belief, load, np.full(3, 0.5), 15.0, refused, arrivals)
    return belief


@given(st.lists(windows(), min_size=1, max_size=4))
@settings(max_examples=100)
def test_whatever_is_measured_capacity_is_unknown_or_a_positive_number(seen: list[Any]) -> None:
    belief = after(seen)
    for values in (belief.capacity, belief.low, belief.seen):
        assert (np.isnan(values) | (np.isfinite(values) & (values > 0))).all()
    assert (np.isfinite(belief.spread) & (belief.spread > 0)).all()
    assert ((belief.top_use > 0) & (belief.top_use <= 1)).all()
    assert (np.isfinite(belief.queued) & (belief.queued >= 0)).all()
    assert not (belief.calm & belief.saturated).any()


@given(st.lists(windows(), min_size=1, max_size=3), st.permutations(range(3)))
@settings(max_examples=50)
def test_the_order_of_services_does_not_matter(seen: list[Any], order: list[int]) -> None:
    def moved(load: ServiceLoad) -> ServiceLoad:
        return replace(load, **{f.name: getattr(load, f.name)[order] for f in fields(load)})

    straight = after(seen)
    turned = after([(moved(load), refused[order], parts[:, order]) for load, refused, parts in seen])
    for field in fields(straight):
        np.testing.assert_array_equal(getattr(turned, field.name), getattr(straight, field.name)[order])
