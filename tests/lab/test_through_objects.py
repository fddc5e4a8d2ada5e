"""Scenarios as the objects of control planes: all of them valid together, with nothing left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from governor.lab.document_files import parse_scenario
from governor.lab.documents import Scenario
from governor.lab.layout import Layout, make_layout
from governor.lab.through import Through, gateway_objects, istio_objects
from governor.lab.through.choice import configuration

SCENARIO = """
name: two_tier
description: two callers of one service
duration_s: 10
topology:
  services:
    - {name: web, replicas: 3, workers: 8, service_time_s: 0.01}
    - {name: side_car, replicas: 1, workers: 8, service_time_s: 0.01}
apis:
  - {name: buy, priority: high, calls: {service: web, calls: [{service: side_car}]}}
  - {name: look, priority: low, calls: {service: side_car}}
load: {classes: {buy.high: {schedule: [[10, 5]]}, look.low: {schedule: [[10, 5]]}}}
slo: {latency_s: 0.5, timeout_s: 1.0}
data_plane:
  envoy_per_service: true
  timeout_s: 1.5
  retries: {attempts: 2, retry_on: "503, connect-failure", per_try_timeout_s: 0.25}
  retry_budget: {percent: 20}
"""
HOST = "side-car.two-tier.svc.cluster.local"


@pytest.fixture
def scenario() -> Scenario:
    return parse_scenario(SCENARIO, Path("two_tier.yaml"))


@pytest.fixture
def layout(scenario: Scenario) -> Layout:
    return make_layout(scenario, "127.0.0.1", 19000)


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    spec: dict[str, Any] = found["spec"]
    return spec


def test_a_service_of_two_callers_has_a_port_for_each(scenario: Scenario, layout: Layout) -> None:
    documents = istio_objects.objects(scenario, layout)
    entry = named(documents, "ServiceEntry", "side-car")
    ports = {
        "http-ingress": layout.edge("ingress", "side_car").port,
        "http-web": layout.edge("web", "side_car").port,
    }
    assert {port["name"]: port["number"] for port in entry["ports"]} == ports
    assert entry["hosts"] == [HOST]
    (endpoint,) = entry["endpoints"]
    assert endpoint["ports"] == dict.fromkeys(ports, layout.replica_ports["side_car"][0])
    (listener,) = named(documents, "Sidecar", "web")["egress"]
    assert (listener["port"]["number"], listener["bind"]) == (ports["http-web"], "127.0.0.1")


def test_classes_are_told_apart_at_the_ingress_and_priorities_everywhere(
    scenario: Scenario, layout: Layout
) -> None:
    documents = istio_objects.objects(scenario, layout)
    high, main = named(documents, "VirtualService", "web")["http"]
    assert [match.get("statPrefix") for match in high["match"]] == ["buy.high", None]
    assert main["match"] == [{"uri": {"prefix": "/"}}]
    assert high["route"] == main["route"] == [{"destination": {"host": "web.two-tier.svc.cluster.local"}}]
    assert "subsets" not in named(documents, "DestinationRule", "web")
    assert high["retries"] == {
        "attempts": 2,
        "retryOn": "503,connect-failure",
        "backoff": "25ms",
        "perTryTimeout": "250ms",
    }
    assert high["timeout"] == "1500ms"


def test_traffic_is_split_between_replicas_as_subsets_where_that_is_asked_for(
    scenario: Scenario, layout: Layout
) -> None:
    documents = istio_objects.objects(scenario, layout, subsets=True)
    high, main = named(documents, "VirtualService", "web")["http"]
    assert [route["weight"] for route in high["route"]] == [34, 33, 33]
    assert high["route"] == main["route"]
    subsets = named(documents, "DestinationRule", "web")["subsets"]
    assert [route["destination"]["subset"] for route in main["route"]] == [s["name"] for s in subsets]


def test_without_retries_istio_is_told_so(scenario: Scenario, layout: Layout) -> None:
    plane = scenario.data_plane.model_copy(update={"retries": None})
    bare = scenario.model_copy(update={"data_plane": plane})
    high, _ = named(istio_objects.objects(bare, layout), "VirtualService", "web")["http"]
    assert high["retries"] == {"attempts": 0}


def test_each_api_class_has_a_route_of_envoy_gateway_and_each_priority_a_rule_inside(
    scenario: Scenario, layout: Layout
) -> None:
    documents = gateway_objects.objects(scenario, layout)
    (entering,) = named(documents, "HTTPRoute", "buy.high")["rules"]
    assert [match["headers"][0]["value"] for match in entering["matches"]] == ["high"]
    assert [ref["name"] for ref in entering["backendRefs"]] == ["web-0", "web-1", "web-2"]
    (entering,) = named(documents, "HTTPRoute", "look.low")["rules"]
    assert entering["matches"] == [{"path": {"type": "PathPrefix", "value": "/look"}}]
    high, main = named(documents, "HTTPRoute", "web-side-car")["rules"]
    assert (high["name"], main["name"]) == ("high", "main")
    assert [ref["name"] for ref in high["backendRefs"]] == ["side-car-0"]
    policy = named(documents, "BackendTrafficPolicy", "web")
    assert policy["retry"]["retryOn"] == {
        "triggers": ["connect-failure", "retriable-status-codes"],
        "httpStatusCodes": [503],
    }
    assert policy["circuitBreaker"]["retryBudget"]["percent"] == {"numerator": 20, "denominator": 100}


def test_every_listener_is_bound_to_the_labs_address(scenario: Scenario, layout: Layout) -> None:
    documents = gateway_objects.objects(scenario, layout)
    listeners = {f"two-tier/ingress/{x['name']}" for x in named(documents, "Gateway", "ingress")["listeners"]}
    patches = named(documents, "EnvoyPatchPolicy", "ingress")["jsonPatches"]
    assert listeners < {patch["name"] for patch in patches}
    assert {patch["operation"]["value"] for patch in patches} == {"127.0.0.1"}


def test_each_name_has_a_configuration_of_its_own() -> None:
    names: list[Through | None] = [None, *get_args(Through)]
    kinds = [type(configuration(name)).__name__ for name in names]
    assert kinds == ["FileConfiguration", "IstioConfiguration", "IstioConfiguration", "EnvoyGatewayConfiguration"]
