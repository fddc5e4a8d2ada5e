"""A scenario as objects of Gateway API and Envoy Gateway: what a user of Envoy Gateway would have written.

Each caller has a Gateway with a listener for each service that it calls. A replica has a Service of its own with
the name of its pod, so that traffic can be shifted between replicas by the weights of a route's backends. A
filter on each backend makes Envoy Gateway give it a cluster of its own, and so statistics of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from governor.adapters.meshes.durations import milliseconds
from governor.lab.bed.envoy_gateway import CONTROLLER
from governor.lab.documents import Api, DataPlane, Scenario
from governor.lab.layout import INGRESS, Edge, Layout, dns, entering_apis
from governor.lab.through.objects import Document, document, namespaces

CLASS = "lab"
GATEWAY = "gateway.networking.k8s.io/v1"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
OPEN = 4_294_967_295
"""The largest value, for no limit: Envoy Gateway's own defaults (1024) are active limits."""
_POLICIES = {"least_request": "LeastRequest", "round_robin": "RoundRobin", "random": "Random"}
_HIGH = {"name": "x-priority", "value": "high"}


def objects(scenario: Scenario, layout: Layout) -> list[Document]:
    """Everything, in the order in which it is to be applied."""
    space = dns(scenario.name)
    found: list[Document] = [
        *namespaces(scenario),
        {
            "apiVersion": GATEWAY,
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": CONTROLLER},
        },
        document(space, ENVOY, "EnvoyProxy", CLASS, {"telemetry": {"metrics": _METRICS}}),
    ]
    for service, ports in layout.replica_ports.items():
        for number, port in enumerate(ports):
            found += replica(space, service, number, port)
    for caller in dict.fromkeys(edge.caller for edge in layout.edges):
        edges = [edge for edge in layout.edges if edge.caller == caller]
        found += [gateway(space, caller, edges), listeners_on(space, caller, edges, layout.address)]
        found.append(traffic_policy(scenario, caller))
        for edge in edges:
            found += routes(scenario, layout, edge)
    return found


_METRICS = {"enableVirtualHostStats": True}


def replica(space: str, service: str, number: int, port: int) -> Iterator[Document]:
    """A Service without pods, and where it is: names below `localhost` are loopback (RFC 6761)."""
    name = f"{dns(service)}-{number}"
    ports = [{"name": "http", "port": 80, "targetPort": port, "appProtocol": "http"}]
    yield document(space, "v1", "Service", name, {"ports": ports})
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": space, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "FQDN",
        "endpoints": [{"addresses": [f"{name}.localhost"], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def gateway(space: str, caller: str, edges: list[Edge]) -> Document:
    """Listeners of the caller's Envoy."""
    listeners = [{"name": dns(edge.callee), "port": edge.port, "protocol": "HTTP"} for edge in edges]
    parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": CLASS}
    spec = {
        "gatewayClassName": CLASS,
        "listeners": listeners,
        "infrastructure": {"parametersRef": parameters},
    }
    return document(space, GATEWAY, "Gateway", dns(caller), spec)


def listeners_on(space: str, caller: str, edges: list[Edge], address: str) -> Document:
    """A patch that lets the Envoy listen on the lab's address only."""
    names = [f"{space}/{dns(caller)}/{dns(edge.callee)}" for edge in edges]
    patches = [
        {
            "type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": name,
            "operation": {"op": "replace", "path": "/address/socket_address/address", "value": address},
        }
        for name in (*names, "envoy-gateway-proxy-ready-0.0.0.0-19003")
    ]
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": dns(caller)}
    spec = {"targetRef": target, "type": "JSONPatch", "jsonPatches": patches}
    return document(space, ENVOY, "EnvoyPatchPolicy", dns(caller), spec)


def traffic_policy(scenario: Scenario, caller: str) -> Document:
    """The scenario's static limits, for all that the caller calls."""
    plane = scenario.data_plane
    caps = dict.fromkeys(
        ("maxConnections", "maxPendingRequests", "maxParallelRequests", "maxParallelRetries"), OPEN
    )
    breaker: Document = dict(caps)
    if plane.retry_budget is not None:
        budget = plane.retry_budget
        breaker["retryBudget"] = {
            "percent": {"numerator": round(budget.percent), "denominator": 100},
            "minRetryConcurrency": budget.min_concurrency,
        }
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": dns(caller)}
    spec: Document = {
        "targetRefs": [target],
        "loadBalancer": {"type": _POLICIES[plane.lb_policy]},
        "circuitBreaker": breaker,
    }
    if plane.retries is not None and plane.retries.attempts > 0:
        spec["retry"] = _retry(plane)
    if plane.outlier_detection == "default":
        spec["healthCheck"] = {"passive": {"interval": "10s"}}
    if caller == INGRESS:
        spec["telemetry"] = {"metrics": {"routeStatName": "%ROUTE_NAME%"}}
    return document(scenario.name, ENVOY, "BackendTrafficPolicy", dns(caller), spec)


def _retry(plane: DataPlane) -> Document:
    assert plane.retries is not None
    triggers, codes = plane.retries.for_envoy()
    on: Document = {"triggers": triggers}
    if codes:
        on["httpStatusCodes"] = codes
    each: Document = {"backOff": {"baseInterval": "25ms", "maxInterval": "250ms"}}
    if plane.retries.per_try_timeout_s is not None:
        each["timeout"] = milliseconds(plane.retries.per_try_timeout_s)
    return {"numRetries": plane.retries.attempts, "retryOn": on, "perRetry": each}


def routes(scenario: Scenario, layout: Layout, edge: Edge) -> Iterator[Document]:
    """Routes of an edge: one for each API class that enters there, inside the mesh a rule for each priority.

    A class that enters is counted under the name of its route.
    """
    rest = {
        "timeouts": {"request": milliseconds(scenario.data_plane.timeout_s)},
        "backendRefs": [
            _backend(edge.callee, number) for number in range(len(layout.replica_ports[edge.callee]))
        ],
    }
    high = {"headers": [_HIGH], "path": _prefix("/")}
    named = {
        dns(api.class_name): [{"name": "main", "matches": [_match(api)], **rest}]
        for api in entering_apis(scenario, edge)
    } or {
        f"{dns(edge.caller)}-{dns(edge.callee)}": [
            {"name": "high", "matches": [high], **rest},
            {"name": "main", "matches": [{"path": _prefix("/")}], **rest},
        ]
    }
    parent = {"name": dns(edge.caller), "sectionName": dns(edge.callee)}
    for name, rules in named.items():
        spec = {"parentRefs": [parent], "rules": rules}
        yield document(scenario.name, GATEWAY, "HTTPRoute", name, spec)


def _match(api: Api) -> Document:
    match: Document = {"path": _prefix(f"/{api.name}")}
    return match | ({"headers": [_HIGH]} if api.priority == "high" else {})


def _prefix(value: str) -> Document:
    return {"type": "PathPrefix", "value": value}


def _backend(service: str, number: int) -> Document:
    name = f"{dns(service)}-{number}"
    mark = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-replica", "value": name}]},
    }
    return {"name": name, "port": 80, "weight": 100, "filters": [mark]}
