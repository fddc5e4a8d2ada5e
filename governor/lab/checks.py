"""What must agree between the parts of a scenario, beyond what one field can say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from governor.lab.documents import Fault, Scenario


def problem(scenario: Scenario) -> str | None:
    """The first thing that does not fit together in `scenario`, or None."""
    return next(_problems(scenario), None)


def _problems(scenario: Scenario) -> Iterator[str]:
    services = [service.name for service in scenario.topology.services]
    classes = [api.class_name for api in scenario.apis]
    yield from _api_problems(scenario, services, classes)
    yield from _load_problems(scenario, classes)
    for number, fault in enumerate(scenario.faults):
        for found in _fault_problems(scenario, fault, services, classes):
            yield f"faults[{number}]: {found}"
    yield from _data_plane_problems(scenario, services, classes)


def _api_problems(scenario: Scenario, services: list[str], classes: list[str]) -> Iterator[str]:
    if len(set(classes)) != len(classes):
        yield f"apis: an API may have one entry per priority, got {', '.join(classes)}"
    for api in scenario.apis:
        for call in api.calls.walk():
            if call.service not in services:
                yield f"apis.{api.class_name}: {_unknown('service', call.service, services)}"
            if any(below.service == call.service for below in call.calls):
                yield f"apis.{api.class_name}: service {call.service!r} calls itself"
    yield from _api_trees_differ(scenario)


def _load_problems(scenario: Scenario, classes: list[str]) -> Iterator[str]:
    for name, load in scenario.load.classes.items():
        if name not in classes:
            yield f"load.classes: {_unknown('API class', name, classes)}"
        lasts = sum(duration for duration, _ in load.schedule)
        if load.schedule and lasts < scenario.duration_s - 1e-9:
            yield (
                f"load.classes.{name}.schedule lasts {lasts:g} s, shorter than duration_s {scenario.duration_s:g}"
            )


def _api_trees_differ(scenario: Scenario) -> Iterator[str]:
    trees: dict[str, object] = {}
    for api in scenario.apis:
        if trees.setdefault(api.name, api.calls) != api.calls:
            yield f"apis: {api.name!r} must have the same calls at both priorities"


def _fault_problems(scenario: Scenario, fault: Fault, services: list[str], classes: list[str]) -> Iterator[str]:
    if fault.service is not None:
        if fault.service not in services:
            yield _unknown("service", fault.service, services)
            return
        replicas = scenario.topology.service(fault.service).replicas
        if fault.replica is not None and fault.replica >= replicas:
            yield f"replica {fault.replica} of {fault.service!r} does not exist (0..{replicas - 1})"
    if fault.api is not None and fault.api not in classes:
        yield _unknown("API class", fault.api, classes)
    if fault.at_s >= scenario.duration_s:
        yield f"at_s {fault.at_s:g} is after the end of the scenario ({scenario.duration_s:g} s)"


def _data_plane_problems(scenario: Scenario, services: list[str], classes: list[str]) -> Iterator[str]:
    limits = scenario.data_plane.static_rate_limit_rps
    if isinstance(limits, dict):
        for name in limits:
            if name not in classes:
                yield f"data_plane.static_rate_limit_rps: {_unknown('API class', name, classes)}"
    for name in scenario.data_plane.static_max_requests or {}:
        if name not in services:
            yield f"data_plane.static_max_requests: {_unknown('service', name, services)}"


def _unknown(what: str, name: str, known: list[str]) -> str:
    return f"unknown {what} {name!r} (allowed: {', '.join(known)})"
