"""From a scenario's faults to what changes when: at replicas, in rates, in clients' retries."""

from __future__ import annotations

from itertools import pairwise

from governor.lab.documents import ClientRetries, Fault, Scenario
from governor.lab.service_plan import FaultAction


def replica_actions(faults: tuple[Fault, ...]) -> list[FaultAction]:
    """What to do at which replicas when, each fault's end included, in order of time."""
    actions: list[FaultAction] = []
    for fault in faults:
        if fault.service is None:
            continue
        changes: tuple[dict[str, float], dict[str, float]]
        if fault.kind == "capacity_drop":
            changes = {"workers_factor": _given(fault.factor)}, {"workers_factor": 1.0}
        elif fault.kind == "slow_replica":
            changes = {"slowdown": _given(fault.factor)}, {"slowdown": 1.0}
        else:
            changes = {"error_rate": _given(fault.error_rate)}, {"error_rate": 0.0}
        for at_s, change in zip((fault.at_s, fault.at_s + fault.for_s), changes, strict=True):
            actions.append(FaultAction(at_s, fault.service, fault.replica, **change))
    return sorted(actions, key=lambda action: action.at_s)


def rate_schedule(scenario: Scenario, class_name: str) -> list[tuple[float, float, float]]:
    """Offered rate of a class with its spikes: pieces (from s, to s, requests/s) until the end."""
    load = scenario.load.classes[class_name]
    spikes = [
        fault for fault in scenario.faults if fault.kind == "load_spike" and fault.api in (None, class_name)
    ]
    edges = {0.0, scenario.duration_s}
    base: list[tuple[float, float, float]] = []
    start = 0.0
    for duration, rate in load.schedule:
        base.append((start, start + duration, rate))
        start += duration
        edges.add(start)
    for spike in spikes:
        edges.update((spike.at_s, spike.at_s + spike.for_s))
    times = sorted(edge for edge in edges if edge <= scenario.duration_s)
    pieces = []
    for begin, end in pairwise(times):
        rate = next((rate for low, high, rate in base if low <= begin < high), 0.0)
        for spike in spikes:
            if spike.at_s <= begin < spike.at_s + spike.for_s:
                rate *= _given(spike.factor)
        pieces.append((begin, end, rate))
    return pieces


def retries_at(scenario: Scenario, class_name: str, at_s: float) -> ClientRetries:
    """How the clients of a class retry a request first sent at `at_s`."""
    for fault in scenario.faults:
        if (
            fault.kind == "retry_happy_clients"
            and fault.api in (None, class_name)
            and fault.at_s <= at_s < fault.at_s + fault.for_s
        ):
            attempts = fault.attempts or 0
            return ClientRetries(attempts=attempts, backoff_s=fault.backoff_s)
    return scenario.load.classes[class_name].retries


def _given(value: float | None) -> float:
    if value is None:
        raise ValueError("a fault without its figure should not have passed validation")
    return value
