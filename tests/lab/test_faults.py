from __future__ import annotations

from governor.lab.documents import ClientRetries, Fault, Scenario
from governor.lab.faults import rate_schedule, replica_actions, retries_at
from governor.lab.service_plan import FaultAction


def test_each_fault_is_put_on_and_taken_off_again() -> None:
    faults = (
        Fault(kind="slow_replica", at_s=5, for_s=2, service="web", replica=1, factor=10),
        Fault(kind="capacity_drop", at_s=1, for_s=9, service="db", factor=0.5),
        Fault(kind="failing_replica", at_s=2, for_s=1, service="web", replica=0, error_rate=0.3),
        Fault(kind="load_spike", at_s=2, for_s=1, factor=2),
    )
    assert replica_actions(faults) == [
        FaultAction(1, "db", workers_factor=0.5),
        FaultAction(2, "web", 0, error_rate=0.3),
        FaultAction(3, "web", 0, error_rate=0.0),
        FaultAction(5, "web", 1, slowdown=10),
        FaultAction(7, "web", 1, slowdown=1.0),
        FaultAction(10, "db", workers_factor=1.0),
    ]


def test_spikes_multiply_the_schedule_for_their_class_only(small: Scenario) -> None:
    faults = (
        Fault(kind="load_spike", at_s=1, for_s=5, factor=2, api="shop.low"),
        Fault(kind="load_spike", at_s=2, for_s=0.5, factor=3),
    )
    scenario = small.model_copy(update={"faults": faults})
    assert rate_schedule(scenario, "shop.low") == [
        (0.0, 1, 60),
        (1, 2, 120),
        (2, 2.5, 360),
        (2.5, 3, 120),
    ]
    assert [rate for _, _, rate in rate_schedule(scenario, "shop.high")] == [30, 90, 30]


def test_clients_turn_retry_happy_for_a_while(small: Scenario) -> None:
    fault = Fault(kind="retry_happy_clients", at_s=1, for_s=1, attempts=4, backoff_s=0.3, api="shop.low")
    scenario = small.model_copy(update={"faults": (fault,)})
    assert retries_at(scenario, "shop.low", 0.5) == ClientRetries()
    assert retries_at(scenario, "shop.low", 1.5) == ClientRetries(attempts=4, backoff_s=0.3)
    assert retries_at(scenario, "shop.high", 1.5) == ClientRetries()
    assert retries_at(scenario, "shop.low", 2.0) == ClientRetries()
