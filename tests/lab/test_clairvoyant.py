from __future__ import annotations

import numpy as np
import pytest

from governor.lab.clairvoyant import capacities, clairvoyant, largest_sum, max_min, mean_rates
from governor.lab.document_files import load_scenario
from governor.lab.documents import Fault, Scenario

PATHS = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])  # a: s1, b: s1 and s2, c: s2
ONES = np.ones(3)


def test_two_bottlenecks_by_hand() -> None:
    capacity, demand = np.array([250.0, 250.0]), np.full(3, 200.0)
    assert max_min(PATHS, capacity, demand, ONES) == pytest.approx([125, 125, 125], rel=1e-4)
    assert largest_sum(PATHS, capacity, demand, ONES).sum() == pytest.approx(450, rel=1e-4)


def test_max_min_gives_what_one_cannot_use_to_the_others() -> None:
    # s2 is the tighter one: b and c share it, a takes what b leaves of s1
    capacity, demand = np.array([300.0, 100.0]), np.array([1000.0, 1000.0, 1000.0])
    assert max_min(PATHS, capacity, demand, ONES) == pytest.approx([250, 50, 50], rel=1e-4)
    # c wants little: b takes the rest of s2
    demand = np.array([1000.0, 1000.0, 10.0])
    assert max_min(PATHS, capacity, demand, ONES) == pytest.approx([210, 90, 10], rel=1e-4)


def test_max_min_follows_the_weights() -> None:
    visits, capacity = np.ones((1, 2)), np.array([90.0])
    rates = max_min(visits, capacity, np.full(2, 1000.0), np.array([1.0, 2.0]))
    assert rates == pytest.approx([30, 60], rel=1e-4)


def test_no_demand_and_no_capacity_give_nothing() -> None:
    assert max_min(PATHS, np.zeros(2), np.full(3, 10.0), ONES) == pytest.approx([0, 0, 0], abs=1e-4)
    assert max_min(PATHS, np.full(2, 10.0), np.zeros(3), ONES) == pytest.approx([0, 0, 0])


def test_overload_serves_the_high_class_first() -> None:
    best = clairvoyant(load_scenario("overload"))
    assert best.goodput(15, 75, "shop.high") == pytest.approx(180, rel=1e-4)
    assert best.goodput(15, 75, "shop.low") == pytest.approx(120, rel=1e-4)
    assert best.goodput(0, 15) == pytest.approx(180, rel=1e-4)
    assert best.largest_sum(15, 75) == pytest.approx(300, rel=1e-4)


def test_capacity_follows_the_faults_within_a_second(small: Scenario) -> None:
    faults = (
        Fault(kind="capacity_drop", at_s=0.5, for_s=1.0, service="web", factor=0.5),
        Fault(kind="slow_replica", at_s=2.0, for_s=1.0, service="web", replica=1, factor=10),
        Fault(kind="load_spike", at_s=1.0, for_s=0.5, factor=3),
        Fault(kind="failing_replica", at_s=0.0, for_s=3.0, service="web", replica=0, error_rate=0.3),
    )
    scenario = small.model_copy(update={"faults": faults})
    assert capacities(scenario)[0] == pytest.approx([300, 300, 220])
    assert mean_rates(scenario, "shop.low") == pytest.approx([60, 120, 60])


def test_the_drawn_arrivals_replace_the_means(small: Scenario) -> None:
    drawn = {"shop.high": np.array([500, 10, 0]), "shop.low": np.array([100, 500, 0])}
    best = clairvoyant(small, drawn)
    assert best.fair[0] == pytest.approx([400, 10, 0], rel=1e-4)
    assert best.fair[1] == pytest.approx([0, 390, 0], rel=1e-4, abs=1e-3)
