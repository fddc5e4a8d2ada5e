"""The whole cycle over minutes of simulated trouble: users get through, and what is over is let go of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from governor.knobs import BackendWeights, Knob, RateLimit
from governor.lab.clairvoyant import clairvoyant
from governor.lab.document_files import load_scenario, parse_scenario
from governor.lab.documents import Scenario
from governor.lab.results import LoadResult
from tests.one_service import one_service
from tests.trajectory.simulated_lab import Trajectory, governed, ungoverned

RETRIES = "{retries: {attempts: 3, per_try_timeout_s: 0.4}}"


def web(
    high: str,
    low: str,
    seconds: int,
    *,
    faults: str = "[]",
    plane: str = "{}",
    replicas: int = 2,
    seed: int = 5,
    govern_from: int = 0,
) -> Scenario:
    text = one_service(
        "web",
        seconds,
        high,
        low,
        service_time_s=0.05,
        latency_s=0.4,
        timeout_s=2.0,
        replicas=replicas,
        seed=seed,
        more=f"faults: {faults}\ndata_plane: {plane}\ngovern_from_s: {govern_from}\n",
    )
    return parse_scenario(text, Path("web.yaml"))


def share(scenario: Scenario, load: LoadResult, start: int, end: int) -> float:
    """Goodput within the SLO over what the clairvoyant reaches."""
    best = clairvoyant(scenario, load.offered).fair.sum(axis=0)
    good = np.stack(list(load.ok_within_slo.values())).sum(axis=0)
    return float(good[start:end].sum() / best[start:end].sum())


def writes(run: Trajectory) -> Counter[Knob]:
    return Counter(receipt.knob for cycle in run.cycles for receipt in cycle.receipts)


def shares_given(run: Trajectory) -> list[dict[str, float]]:
    """The share of each backend, as every write of weights set it."""
    values = (receipt.after for cycle in run.cycles for receipt in cycle.receipts)
    return [dict(value.shares) for value in values if isinstance(value, BackendWeights)]


pytestmark = pytest.mark.timeout(180)


def test_an_overload_costs_the_low_class_only_and_leaves_nothing_behind() -> None:
    scenario = web("[[15, 50], [30, 90], [15, 50]]", "[[15, 120], [30, 500], [15, 120]]", 60)
    run = governed(scenario)
    assert share(scenario, run.load, 25, 45) > 0.93
    assert run.load.success(25, 45, "shop.high", in_slo=True) > 0.98
    assert run.load.success(50, 60) > 0.99
    assert all(value is None for value in run.mesh.buckets.values())


def test_a_service_whose_cpu_tells_little_is_learnt_from_its_queue_and_not_forgotten() -> None:
    scenario = web("[[15, 50], [20, 90], [25, 70]]", "[[15, 120], [20, 500], [25, 220]]", 60)
    run = governed(scenario, cpu_share=0.3)
    assert share(scenario, run.load, 25, 35) > 0.9
    beliefs = run.cycles[-1].state.beliefs
    assert beliefs is not None
    capacity = beliefs.capacity.capacity[beliefs.index.services.index("web")]
    assert 270 < capacity < 370  # it is 320


def test_capacity_that_comes_back_is_used_within_two_periods() -> None:
    faults = "[{kind: capacity_drop, service: web, factor: 0.4, at_s: 15, for_s: 30}]"
    scenario = web("[[65, 70]]", "[[65, 170]]", 65, faults=faults)
    run = governed(scenario)
    assert share(scenario, run.load, 25, 45) > 0.9
    assert share(scenario, run.load, 55, 65) > 0.97


def test_a_retry_storm_that_never_ends_by_itself_ends_within_two_periods() -> None:
    faults = "[{kind: capacity_drop, service: web, factor: 0.5, at_s: 15, for_s: 9}]"
    scenario = web("[[50, 70]]", "[[50, 186]]", 50, faults=faults, plane=RETRIES)
    assert ungoverned(scenario).success(40, 50) < 0.2
    assert share(scenario, governed(scenario).load, 34, 50) > 0.97


def test_a_storm_that_is_under_way_is_broken_by_shedding_until_the_queue_is_empty() -> None:
    faults = "[{kind: capacity_drop, service: web, factor: 0.5, at_s: 5, for_s: 9}]"
    scenario = web("[[50, 70]]", "[[50, 186]]", 50, faults=faults, plane=RETRIES, govern_from=20)
    run = governed(scenario)
    assert run.load.success(15, 25) < 0.1
    assert share(scenario, run.load, 38, 50) > 0.95
    shed = [
        r.after
        for c in run.cycles[:1]
        for r in c.receipts
        if r.knob is Knob.RATE_LIMIT and isinstance(r.after, RateLimit)
    ]
    assert shed
    assert all(limit.requests_per_second is not None for limit in shed)
    assert all(value is None for value in run.mesh.buckets.values())


def test_a_slow_replica_loses_its_share_and_gets_it_back_when_it_has_recovered() -> None:
    faults = "[{kind: slow_replica, service: web, replica: 3, factor: 10, at_s: 15, for_s: 25}]"
    scenario = web("[[120, 70]]", "[[120, 170]]", 120, faults=faults, replicas=4)
    run = governed(scenario)
    shares = [given["web-3"] for given in shares_given(run)]
    assert shares[0] < 0.01
    assert shares[-1] > 0.2
    assert run.load.success(25, 40, in_slo=True) > 0.985


def test_a_canary_keeps_the_share_that_its_operator_gave_it() -> None:
    faults = "[{kind: failing_replica, service: web, replica: 1, error_rate: 0.5, at_s: 30, for_s: 20}]"
    scenario = web("[[180, 50]]", "[[180, 120]]", 180, faults=faults, replicas=3)
    run = governed(scenario, weights={"out|ingress|web": (50, 45, 5)})
    shares = shares_given(run)
    assert shares[0]["web-1"] < 0.01
    assert max(s["web-2"] for s in shares) < 0.12
    assert shares[-1]["web-1"] == pytest.approx(0.45, abs=0.02)
    assert shares[-1]["web-2"] == pytest.approx(0.05, abs=0.005)


def test_one_of_three_replicas_that_fails_is_one_backend_and_not_an_overload() -> None:
    faults = "[{kind: failing_replica, service: web, replica: 2, error_rate: 0.4, at_s: 10, for_s: 25}]"
    scenario = web("[[35, 50]]", "[[35, 120]]", 35, faults=faults, replicas=3)
    run = governed(scenario)
    assert run.load.success(20, 35) > 0.99
    assert writes(run)[Knob.WEIGHTS] == 1


def test_where_proxies_pick_by_weight_a_slow_replica_is_left_between_two_cycles() -> None:
    faults = "[{kind: slow_replica, service: web, replica: 2, factor: 10, at_s: 21, for_s: 20}]"
    scenario = web("[[41, 50]]", "[[41, 120]]", 41, faults=faults, replicas=3, plane="{lb_policy: round_robin}")
    slow, fast = (governed(scenario, look_s=look_s) for look_s in (0.0, 1.0))
    assert [c.frame.at for c in slow.cycles if any(r.knob is Knob.WEIGHTS for r in c.receipts)] == [25.0]
    assert [c.frame.at for c in fast.cycles if any(r.knob is Knob.WEIGHTS for r in c.receipts)] == [22.0]
    lost_slow, lost_fast = (1 - run.load.success(21, 41, in_slo=True) for run in (slow, fast))
    assert lost_fast < 0.5 * lost_slow


def test_where_nothing_is_wrong_each_knob_is_written_at_most_once() -> None:
    scenario = web("[[60, 60]]", "[[60, 130]]", 60)
    run = governed(scenario)
    assert run.load.success(0, 60, in_slo=True) > 0.99
    assert set(writes(run).values()) <= {1}


def test_a_small_pool_is_not_taken_apart_by_the_noise_of_few_looks() -> None:
    scenario = web("[[120, 6]]", "[[120, 14]]", 120, seed=9)
    run = governed(scenario)
    assert writes(run)[Knob.WEIGHTS] == 0


def test_a_backend_on_hardly_any_requests_is_tried_again() -> None:
    faults = "[{kind: failing_replica, service: web, replica: 2, error_rate: 0.5, at_s: 10, for_s: 20}]"
    scenario = web("[[300, 10]]", "[[300, 20]]", 300, faults=faults, replicas=3, plane="{lb_policy: round_robin}")
    run = governed(scenario)
    shares = [given["web-2"] for given in shares_given(run)]
    assert shares[0] < 0.01
    assert shares[-1] > 0.25


def test_the_rush_of_a_real_site_s_day_is_survived_only_when_governed() -> None:
    scenario = load_scenario("site_day")
    assert ungoverned(scenario).success(150, 180, in_slo=True) < 0.5
    run = governed(scenario)
    assert run.load.success(0, 180, in_slo=True) > 0.9
    assert run.load.success(0, 180, "scores.high", in_slo=True) > 0.97
    assert run.load.success(150, 180, in_slo=True) > 0.98
