"""A scenario as Istio's objects: what a user of Istio would have written for the same mesh.

A service has a ServiceEntry with one port for each edge that leads to it: the port is the one that the caller's
Envoy listens on, as a Sidecar without redirected traffic demands. Its replicas are the entry's endpoints, each
with statistics and, if one is written, a weight of its own; or subsets `r0`, `r1`, ... with equal weights in the
VirtualService, as versions of a workload have.

Sources: Istio, configuration reference (Traffic Management); Envoy, `track_cluster_stats`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from governor.adapters.meshes.durations import milliseconds
from governor.lab.bed.daemon import DOMAIN
from governor.lab.documents import DataPlane, Scenario
from governor.lab.layout import INGRESS, Edge, Layout, dns
from governor.lab.through.objects import Document, document, namespaces

NETWORKING = "networking.istio.io/v1"
FILTERS = "networking.istio.io/v1alpha3"
_POLICIES = {"least_request": "LEAST_REQUEST", "round_robin": "ROUND_ROBIN", "random": "RANDOM"}
_OUTLIERS: Document = {
    "consecutive5xxErrors": 5,
    "interval": "10s",
    "baseEjectionTime": "30s",
    "maxEjectionPercent": 10,
}
"""Envoy's own defaults: Istio takes an empty block for none."""


def host(scenario: Scenario, service: str) -> str:
    """The service's name in the cluster."""
    return f"{dns(service)}.{dns(scenario.name)}.svc.{DOMAIN}"


def objects(scenario: Scenario, layout: Layout, *, subsets: bool = False) -> list[Document]:
    """Everything, in the order in which it is to be applied; `subsets`: traffic is split by routes."""
    found = namespaces(scenario)
    for service in layout.replica_ports:
        edges = [edge for edge in layout.edges if edge.callee == service]
        if edges:
            found += [
                service_entry(scenario, layout, service, edges),
                destination_rule(scenario, service, _subsets(layout, service) if subsets else []),
                virtual_service(scenario, service, _split(layout, service) if subsets else {}),
            ]
    found.append(statistics_of_endpoints(scenario))
    # The Sidecars last: a listener that an Envoy opens has all its routes by then.
    for caller in dict.fromkeys(edge.caller for edge in layout.edges):
        found.append(sidecar(scenario, layout, caller))
    return found


def service_entry(scenario: Scenario, layout: Layout, service: str, edges: list[Edge]) -> Document:
    """Where the service's replicas are; the label `replica` tells them apart."""
    ports = {f"http-{dns(edge.caller)}": edge.port for edge in edges}
    endpoints = [
        {
            "address": layout.address,
            "ports": dict.fromkeys(ports, port),
            "labels": {"app": dns(service), "replica": f"r{number}"},
        }
        for number, port in enumerate(layout.replica_ports[service])
    ]
    spec = {
        "hosts": [host(scenario, service)],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": number, "name": name, "protocol": "HTTP"} for name, number in ports.items()],
        "endpoints": endpoints,
    }
    return _document(scenario, "ServiceEntry", service, spec)


def statistics_of_endpoints(scenario: Scenario) -> Document:
    """Has every Envoy count per endpoint, for which Istio has no field."""
    patch = {"operation": "MERGE", "value": {"track_cluster_stats": {"per_endpoint_stats": True}}}
    patches = [{"applyTo": "CLUSTER", "match": {"context": "SIDECAR_OUTBOUND"}, "patch": patch}]
    spec = {"configPatches": patches}
    return document(scenario.name, FILTERS, "EnvoyFilter", "statistics-of-endpoints", spec)


def destination_rule(scenario: Scenario, service: str, subsets: list[Document]) -> Document:
    """The scenario's static limits, and the subsets that traffic can be split between."""
    plane = scenario.data_plane
    policy: Document = {"loadBalancer": {"simple": _POLICIES[plane.lb_policy]}}
    cap = (plane.static_max_requests or {}).get(service)
    if cap is not None:
        policy["connectionPool"] = {"http": {"http2MaxRequests": cap}}
    if plane.retry_budget is not None:
        budget = plane.retry_budget
        policy["retryBudget"] = {"percent": budget.percent, "minRetryConcurrency": budget.min_concurrency}
    if plane.outlier_detection == "default":
        policy["outlierDetection"] = dict(_OUTLIERS)
    spec: Document = {"host": host(scenario, service), "trafficPolicy": policy}
    if subsets:
        spec["subsets"] = subsets
    return _document(scenario, "DestinationRule", service, spec)


def _subsets(layout: Layout, service: str) -> list[Document]:
    return [{"name": name, "labels": {"replica": name}} for name in _split(layout, service)]


def _split(layout: Layout, service: str) -> dict[str, int]:
    count = len(layout.replica_ports[service])
    return {f"r{number}": 100 // count + (number < 100 % count) for number in range(count)}


def virtual_service(scenario: Scenario, service: str, split: Mapping[str, int]) -> Document:
    """Routes `high` and `main`, by the header that carries a request's priority; `split`: percent by subset.

    What enters the mesh here counts per API class, under its name as the prefix of the route's statistics.
    """
    route = _route(scenario, service, split)
    main = {**route, "match": [*_entries(scenario, service, "low"), {"uri": _ANY}]}
    spec = {
        "hosts": [host(scenario, service)],
        "http": [
            {
                "name": "high",
                "match": [*_entries(scenario, service, "high"), {"headers": _HIGH}],
                **route,
            },
            {"name": "main", **main},
        ],
    }
    return _document(scenario, "VirtualService", service, spec)


_ANY = {"prefix": "/"}
_HIGH = {"x-priority": {"exact": "high"}}


def _entries(scenario: Scenario, service: str, priority: str) -> Iterator[Document]:
    for api in scenario.apis:
        if api.calls.service == service and api.priority == priority:
            match: Document = {
                "uri": {"prefix": f"/{api.name}"},
                "sourceLabels": {"app": INGRESS},
                "statPrefix": api.class_name,
            }
            yield match | ({"headers": _HIGH} if priority == "high" else {})


def _route(scenario: Scenario, service: str, split: Mapping[str, int]) -> Document:
    plane = scenario.data_plane
    to = {"host": host(scenario, service)}
    parts = [{"destination": {**to, "subset": subset}, "weight": weight} for subset, weight in split.items()]
    return {
        "timeout": milliseconds(plane.timeout_s),
        "retries": _retries(plane),
        "route": parts or [{"destination": to}],
    }


def _retries(plane: DataPlane) -> Document:
    # Without a stanza Istio retries twice.
    if plane.retries is None or plane.retries.attempts == 0:
        return {"attempts": 0}
    conditions = ",".join(plane.retries.conditions)
    found: Document = {"attempts": plane.retries.attempts, "retryOn": conditions, "backoff": "25ms"}
    if plane.retries.per_try_timeout_s is not None:
        found["perTryTimeout"] = milliseconds(plane.retries.per_try_timeout_s)
    return found


def sidecar(scenario: Scenario, layout: Layout, caller: str) -> Document:
    """Listeners of the caller's Envoy: one for each service that it calls."""
    egress = [
        {
            "port": {"number": edge.port, "name": f"http-{dns(edge.callee)}", "protocol": "HTTP"},
            "bind": layout.address,
            "captureMode": "NONE",
            "hosts": ["./*"],
        }
        for edge in layout.edges
        if edge.caller == caller
    ]
    spec = {"workloadSelector": {"labels": {"app": dns(caller)}}, "egress": egress}
    return _document(scenario, "Sidecar", caller, spec)


def _document(scenario: Scenario, kind: str, name: str, spec: Document) -> Document:
    return document(scenario.name, NETWORKING, kind, dns(name), spec)
