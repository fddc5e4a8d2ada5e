from __future__ import annotations

import math
import random

import pytest

from governor.lab.queueing import Completion, Replica, service_times


def erlang_c_wait(rate: float, mean: float, workers: int) -> float:
    """Mean wait in an M/M/c queue (Erlang C), the textbook formula."""
    offered = rate * mean
    rho = offered / workers
    top = offered**workers / math.factorial(workers) / (1 - rho)
    below = sum(offered**k / math.factorial(k) for k in range(workers))
    return top / (below + top) * mean / (workers - offered)


@pytest.mark.parametrize(("workers", "rho"), [(1, 0.7), (4, 0.8), (12, 0.9)])
def test_mean_wait_is_that_of_mmc_theory(workers: int, rho: float) -> None:
    mean = 0.05
    rate = rho * workers / mean
    rng = random.Random(11)
    replica: Replica[int] = Replica(workers, service_times("exp", mean, rng), 10**9)
    done: list[Completion[int]] = []
    now = 0.0
    for number in range(60_000):
        now += rng.expovariate(rate)
        done += replica.advance(now)
        assert replica.arrive(number, now)
    waits = [completion.started - completion.arrived for completion in done[5000:]]
    assert sum(waits) / len(waits) == pytest.approx(erlang_c_wait(rate, mean, workers), rel=0.15)
    assert replica.busy_seconds() / (workers * now) == pytest.approx(rho, rel=0.03)


def test_capacity_is_exact_however_late_the_clock_is_read() -> None:
    def ends(step: float) -> list[float]:
        replica: Replica[int] = Replica(3, lambda: 0.07, 1000)
        for number in range(300):
            assert replica.arrive(number, 0.0)
        found: list[float] = []
        steps = 0
        while len(found) < 300:
            steps += 1
            found += [completion.ended for completion in replica.advance(steps * step)]
        return found

    exact = ends(0.001)
    assert exact == ends(1.7)
    assert exact[-1] == pytest.approx(300 / 3 * 0.07)


def test_order_is_first_in_first_out_and_a_full_queue_refuses() -> None:
    replica: Replica[str] = Replica(1, lambda: 1.0, 2)
    assert [replica.arrive(item, 0.0) for item in "abcd"] == [True, True, True, False]
    assert replica.waiting == 2
    assert replica.busy == 1
    assert [completion.item for completion in replica.advance(3.0)] == ["a", "b", "c"]
    assert replica.next_end() is None


def test_fewer_workers_halve_the_rate_and_work_at_hand_is_finished() -> None:
    replica: Replica[int] = Replica(4, lambda: 1.0, 100)
    for number in range(40):
        replica.arrive(number, 0.0)
    replica.set_workers(2, 0.5)
    assert len(replica.advance(1.0)) == 4
    assert replica.busy == 2
    assert len(replica.advance(5.0)) == 8
    replica.set_workers(4, 5.0)
    assert replica.busy == 4
    assert len(replica.advance(6.0)) == 4


def test_slowdown_holds_for_work_started_after_it() -> None:
    replica: Replica[int] = Replica(1, lambda: 1.0, 100)
    for number in range(3):
        replica.arrive(number, 0.0)
    replica.slowdown = 10.0
    assert [completion.ended for completion in replica.advance(100.0)] == [1.0, 11.0, 21.0]
    assert replica.busy_seconds() == pytest.approx(21.0)


@pytest.mark.parametrize("distribution", ["exp", "constant", "lognormal"])
def test_service_times_have_the_mean_asked_for(distribution: str) -> None:
    draw = service_times(distribution, 0.05, random.Random(5))
    assert sum(draw() for _ in range(40_000)) / 40_000 == pytest.approx(0.05, rel=0.03)
