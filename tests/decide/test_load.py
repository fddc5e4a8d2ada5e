"""What a window says of each service: how full, how slow, how much refused."""

from __future__ import annotations

import math

import pytest

from governor.decide.load import OVER_LIMIT, service_load
from tests.decide.situations import chain, frame, one


@pytest.mark.parametrize(
    ("used", "limit", "share"),
    [
        (5.0, 10.0, 0.5),
        (0.0, 10.0, 0.0),
        (10.5, 10.0, 1.0),  # within what measuring explains
        (5.0, 0.0, math.nan),  # Kubernetes: no limit
        (0.0, 0.0, math.nan),
        (5.0, -1.0, math.nan),  # cgroups: no limit
        (20.0, 10.0, math.nan),  # some containers have no limit: the sum of the others is not what is allowed
        (math.nan, 10.0, math.nan),
        (5.0, math.nan, math.nan),
        (5.0, math.inf, math.nan),
    ],
)
def test_use_is_of_what_is_allowed_and_unknown_where_that_is(used: float, limit: float, share: float) -> None:
    found = service_load(frame(one(), service={"cpu_used": used, "cpu_limit": limit})).utilisation
    assert found[1] == pytest.approx(share, nan_ok=True)


def test_use_over_the_limit_is_full_up_to_what_measuring_explains() -> None:
    def use(share: float) -> float:
        return float(service_load(frame(one(), service={"cpu_used": share, "cpu_limit": 1.0})).utilisation[1])

    assert use(OVER_LIMIT - 0.01) == 1.0
    assert math.isnan(use(OVER_LIMIT + 0.01))


def test_what_a_service_takes_itself_is_without_its_calls() -> None:
    seen = frame(chain(), edge={"in_flight": [20.0, 6.0]}, service={"completions": 200.0})
    found = service_load(seen)
    assert found.latency[1] == pytest.approx(20 / 200)
    assert found.own_latency[1] == pytest.approx(20 / 200 - 6 / 200)
    assert found.own_latency[2] == pytest.approx(6 / 200)


def test_the_pool_is_as_slow_as_its_fastest_backend() -> None:
    seen = frame(one(pool=3), backend={"rate": [10.0, 50.0, 0.0], "in_flight": [9.0, 1.0, 5.0]})
    assert service_load(seen).pool_latency[1] == pytest.approx(1 / 50)
    nobody = frame(one(pool=3), backend={"rate": 0.0, "in_flight": 1.0})
    assert math.isnan(service_load(nobody).pool_latency[1])
