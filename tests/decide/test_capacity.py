"""What is believed of a service's capacity, and what it takes to believe otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.decide.capacity import BASE_DRIFT, CapacityBelief, update
from tests.decide.situations import BASE_S, PERIOD_S, WEB, belief, load

OBJECTIVE = np.full(3, 0.5)
NONE = np.zeros(3, np.bool_)
ALL = np.ones(3, np.bool_)


def web(value: float, other: float = np.nan) -> np.ndarray:
    return np.array([np.nan, value, other])


def learn(old: CapacityBelief, refused: np.ndarray = NONE, steps: Any = None, **signals: Any) -> CapacityBelief:
    return update(old, load(**signals), OBJECTIVE, PERIOD_S, refused, steps)


def queueing(factor: float = 4.0) -> dict[str, Any]:
    """Own latency of web at `factor` times its base, at every backend."""
    return {
        "own_latency": web(factor * BASE_S),
        "pool_latency": web(factor * 0.06),
        "latency": web(factor * 0.06),
    }


def test_capacity_is_the_rate_over_the_part_of_the_cpu_that_it_used() -> None:
    found = learn(CapacityBelief.unknown(3), completions=web(150), utilisation=web(0.5))
    assert found.capacity[WEB] == pytest.approx(300)


def test_too_few_requests_say_nothing() -> None:
    found = learn(CapacityBelief.unknown(3), completions=web(5), utilisation=web(0.01))
    assert np.isnan(found.capacity[WEB])


def test_a_neighbour_that_takes_cores_is_believed_in_the_first_window() -> None:
    found = learn(belief(), completions=web(200), utilisation=web(0.5), **queueing())
    assert found.saturated[WEB]
    assert found.top_use[WEB] == pytest.approx(0.5)
    assert found.capacity[WEB] == pytest.approx(200)


def test_a_mixed_first_window_of_a_neighbour_is_corrected_by_the_next() -> None:
    first = learn(belief(), completions=web(240), utilisation=web(0.58), **queueing())
    second = learn(first, completions=web(200), utilisation=web(0.5), **queueing())
    assert second.top_use[WEB] == pytest.approx(0.5)
    assert second.capacity[WEB] == pytest.approx(200, rel=0.01)


def test_capacity_that_came_back_is_seen_while_limits_hide_the_demand() -> None:
    halved = belief(capacity=web(200, 1000), top_use=np.array([1, 0.5, 1]))
    calm = {"completions": web(200), "utilisation": web(0.5), "own_latency": web(1.02 * BASE_S)}
    assert learn(halved, refused=ALL, **calm).capacity[WEB] == pytest.approx(400)
    assert learn(halved, refused=NONE, **calm).capacity[WEB] == pytest.approx(200)


def test_a_queue_at_the_known_top_use_disproves_nothing() -> None:
    halved = belief(capacity=web(200, 1000), top_use=np.array([1, 0.5, 1]))
    found = learn(halved, refused=ALL, completions=web(200), utilisation=web(0.5), own_latency=web(1.5 * BASE_S))
    assert not found.calm[WEB]
    assert found.capacity[WEB] == pytest.approx(200)


def test_one_slow_replica_is_not_a_saturated_service() -> None:
    found = learn(belief(), completions=web(200), utilisation=web(0.5), own_latency=web(4 * BASE_S))
    assert not found.saturated[WEB]  # the fastest backend is as fast as ever
    assert found.top_use[WEB] == 1.0


def test_a_queue_of_the_dead_teaches_nothing_downward() -> None:
    drained = {"arrivals": web(20), "completions": web(60), "utilisation": web(0.15)}
    found = learn(belief(), **drained, **queueing(40.0))
    assert found.capacity[WEB] == pytest.approx(400)
    assert found.top_use[WEB] == 1.0


def test_base_latency_follows_quiet_windows_quickly_down_and_slowly_up() -> None:
    faster = learn(belief(), completions=web(200), utilisation=web(0.5), own_latency=web(0.04))
    slower = learn(belief(), completions=web(200), utilisation=web(0.5), own_latency=web(0.09))
    assert faster.base_latency[WEB] == pytest.approx(0.05 - 0.3 * 0.01)
    assert BASE_S < slower.base_latency[WEB] <= BASE_DRIFT * BASE_S + 1e-12


def test_base_latency_does_not_move_while_what_is_left_is_fully_used() -> None:
    halved = belief(top_use=np.array([1, 0.5, 1]))
    found = learn(halved, completions=web(200), utilisation=web(0.49), own_latency=web(1.5 * BASE_S))
    assert found.base_latency[WEB] == BASE_S


def test_without_cpu_the_completion_rate_counts_once_the_pool_queues() -> None:
    blind = {"utilisation": web(np.nan), "completions": web(180)}
    assert np.isnan(learn(CapacityBelief.unknown(3), **blind, own_latency=web(0.05)).capacity[WEB])
    known = learn(belief(capacity=web(np.nan)), **blind, **queueing())
    assert known.capacity[WEB] == pytest.approx(180)


def test_without_cpu_a_calm_window_that_refused_probes_upward() -> None:
    calm = {"utilisation": web(np.nan), "completions": web(180), "own_latency": web(BASE_S)}
    found = learn(belief(capacity=web(200)), refused=ALL, **calm)
    assert 200 < found.capacity[WEB] < 300


def test_the_queue_follows_the_flow_second_by_second_and_refused_arrivals_do_not_wait() -> None:
    full = belief(queued=web(2000, 0), base_latency=web(BASE_S, 0.02))
    steps = np.array([[0, 1200, 0], [0, 20, 0], [0, 20, 0], [0, 20, 0], [0, 20, 0]], float)
    signals = {"completions": web(400), "arrivals": web(256), "own_latency": web(5.05), "utilisation": web(1.0)}
    found = learn(full, steps=steps, pool_latency=web(5.0), latency=web(5.0), **signals)
    assert found.queued[WEB] == pytest.approx(2000 - 4 * 380)


def test_idle_cpu_means_that_nobody_waits() -> None:
    found = learn(belief(queued=web(500, 0)), completions=web(200), utilisation=web(0.5), own_latency=web(0.08))
    assert found.queued[WEB] == 0


numbers = st.floats(0, 1e6)


@given(st.tuples(*[numbers] * 6))
def test_any_signals_leave_a_capacity_that_is_positive_or_unknown(values: tuple[float, ...]) -> None:
    x, u, own, pool, arrivals, seen = values
    found = belief(seen=web(seen, 0))
    for _ in range(3):
        found = learn(
            found,
            refused=ALL,
            completions=web(x),
            utilisation=web(u),
            own_latency=web(own),
            pool_latency=web(pool),
            latency=web(own),
            arrivals=web(arrivals),
            overflow=web(1.0),
        )
    assert np.isnan(found.capacity[WEB]) or found.capacity[WEB] > 0 or x == 0
    assert found.queued[WEB] >= 0
    assert 0 < found.top_use[WEB] <= 1


def test_the_order_of_services_does_not_matter() -> None:
    order = [2, 0, 1]
    old, seen = belief(), load(**queueing(), utilisation=np.array([np.nan, 0.5, 0.1]))
    turned = CapacityBelief(**{k: v[order] for k, v in vars(old).items()})
    mixed = replace(seen, **{k: v[order] for k, v in vars(seen).items()})
    one, two = (update(b, s, OBJECTIVE, PERIOD_S, NONE) for b, s in ((old, seen), (turned, mixed)))
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value[order], getattr(two, name), err_msg=name)
