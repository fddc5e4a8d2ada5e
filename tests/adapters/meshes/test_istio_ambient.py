"""Istio in ambient mode: what a waypoint takes, and what is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import ENDPOINT_SLICE, NAMESPACE, Snapshot
from governor.adapters.meshes import istio
from governor.adapters.meshes.gateway_budget import POLICY
from governor.adapters.meshes.gateway_objects import GATEWAY, HTTP_ROUTE
from governor.adapters.meshes.istio_ambient import MESH
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, VIRTUAL_SERVICE
from governor.adapters.meshes.mesh import Mesh, Place
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
)

from .capabilities import file_agrees
from .objects import made, place, snapshot_of

KINDS = (*MESH.kinds, *istio.MESH.kinds, NAMESPACE, ENDPOINT_SLICE, POLICY)
CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, namespace: "", labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: api}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {selector: {app: plain}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: public-istio, namespace: shop}
spec: {selector: {gateway.networking.k8s.io/gateway-name: public}, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: service}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: waypoint-1, namespace: shop, labels: {kubernetes.io/service-name: waypoint}}
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: api, port: 80}]
  rules:
  - retry: {attempts: 2, codes: [503]}
    backendRefs: [{name: api-v1, port: 80, weight: 9}, {name: api-v2, port: 80, weight: 1}]
"""
SERVICE_ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api]
  http:
  - route:
    - {destination: {host: api, subset: v1}, weight: 90}
    - {destination: {host: api, subset: v2}, weight: 10}
"""
HERE = place("api", caller_proxies=7)
HALF = BackendWeights((("api-v1", 0.5), ("api-v2", 0.5)))


def seen(*texts: str, cluster: str = CLUSTER) -> Snapshot:
    return snapshot_of(yaml.safe_load_all("\n---\n".join((cluster, *texts))), KINDS)


def refused(found: Snapshot, value: KnobValue, where: Place = HERE, mesh: Mesh = MESH) -> str:
    with pytest.raises(Inexpressible) as error:
        mesh.changes(found, where, value)
    return str(error.value)


def spec_of(found: Snapshot, kind: Any) -> Any:
    ((_, body),) = found.of(kind)
    return body["spec"]


def test_limits_count_in_the_waypoints_proxies() -> None:
    now = made(MESH, seen(), HERE, InFlightCap(100, None))
    pool = spec_of(now, DESTINATION_RULE)["trafficPolicy"]["connectionPool"]
    assert pool == {"http": {"http2MaxRequests": 50}}
    assert MESH.settings(now, HERE) == {Knob.IN_FLIGHT_CAP: InFlightCap(100, None)}


def test_an_attached_route_is_used_where_there_is_one() -> None:
    found = seen(ROUTE)
    for value in (HALF, Timeout(2.0, 0.5), RetryPolicy(4, 0.2)):
        found = made(MESH, found, HERE, value)
    (rule,) = spec_of(found, HTTP_ROUTE)["rules"]
    assert rule["timeouts"] == {"request": "2s", "backendRequest": "500ms"}
    assert rule["retry"] == {"attempts": 4, "codes": [503]}
    assert [backend["weight"] for backend in rule["backendRefs"]] == [50, 50]
    assert list(found.of(VIRTUAL_SERVICE)) == []
    assert MESH.settings(found, place("api", backends=("api-v1", "api-v2"))) == {
        Knob.WEIGHTS: HALF,
        Knob.TIMEOUT: Timeout(2.0, 0.5),
        Knob.RETRIES: RetryPolicy(4, 0.2),
    }


def test_policies_hold_for_the_services_that_the_route_leads_to() -> None:
    now = made(MESH, made(MESH, seen(ROUTE), HERE, OutlierDetection(0.3, 5)), HERE, RetryPolicy(2, 0.2))
    assert [body["spec"]["host"] for _, body in now.of(DESTINATION_RULE)] == [
        "api-v1.shop.svc.cluster.local",
        "api-v2.shop.svc.cluster.local",
    ]
    said = MESH.settings(now, HERE)
    assert said[Knob.OUTLIER_DETECTION] == OutlierDetection(0.3, 5)
    assert said[Knob.RETRIES] == RetryPolicy(2, 0.2)
    why = refused(seen(ROUTE), InFlightCap(5, None))
    assert "end at api-v1.shop.svc.cluster.local, api-v2.shop.svc.cluster.local" in why


def test_virtual_services_otherwise() -> None:
    found = seen(SERVICE_ROUTES)
    half = BackendWeights((("v1", 0.5), ("v2", 0.5)))
    for value in (half, Timeout(2.0, 0.5), RetryPolicy(4, 0.2)):
        found = made(MESH, found, HERE, value)
        (knob,) = (k for k, v in MESH.settings(found, HERE).items() if v == value)
    (entry,) = spec_of(found, VIRTUAL_SERVICE)["http"]
    assert entry["retries"] == {"attempts": 4, "perTryTimeout": "500ms"}
    assert knob is Knob.RETRIES


def test_a_time_for_each_try_needs_retries_in_the_route() -> None:
    text = ROUTE.replace("  - retry: {attempts: 2, codes: [503]}\n    backendRefs", "  - backendRefs")
    assert "time of the whole request" in refused(seen(text), Timeout(2.0, 0.5))
    assert MESH.changes(seen(text), HERE, Timeout(2.0, None))


@pytest.mark.parametrize("value", [HALF, Timeout(2.0, None), RetryPolicy(1, None)])
def test_both_kinds_of_routes_are_never_mixed(value: KnobValue) -> None:
    why = refused(seen(ROUTE, SERVICE_ROUTES), value)
    assert "HTTPRoute shop/api and VirtualService shop/api both route to" in why
    assert MESH.settings(seen(ROUTE, SERVICE_ROUTES), HERE) == {}


@pytest.mark.parametrize("value", [RateLimit(5.0), InFlightCap(None, 5)])
def test_what_takes_a_filter_is_refused(value: KnobValue) -> None:
    assert "waypoints ignore EnvoyFilters silently" in refused(seen(), value)


EVERY = [
    RateLimit(5.0),
    InFlightCap(5, None),
    ConnectionLimits(5, 5),
    OutlierDetection(0.3, 5),
    RetryPolicy(1, 0.1),
    Timeout(1.0, None),
    HALF,
]


@pytest.mark.parametrize("value", EVERY)
def test_without_a_waypoint_there_are_no_requests(value: KnobValue) -> None:
    plain = place("plain")
    assert "without a waypoint" in refused(seen(), value, plain)
    assert MESH.settings(seen(), plain) == {}
    gone = CLUSTER.replace(
        "metadata: {name: waypoint, namespace: shop, labels", "metadata: {name: other, namespace: shop, labels"
    )
    assert "without a waypoint" in refused(seen(cluster=gone), value)


@pytest.mark.parametrize("value", EVERY)
def test_each_service_has_one_of_the_two_modes(value: KnobValue) -> None:
    assert "is in ambient mode" in refused(seen(), value, HERE, istio.MESH)
    assert istio.MESH.settings(seen(SERVICE_ROUTES), HERE) == {}
    with_sidecars = CLUSTER.replace("istio.io/use-waypoint: waypoint", "a: b").replace("ambient}", "none}")
    assert "pass no waypoint" in refused(seen(cluster=with_sidecars), value)
    assert MESH.settings(seen(SERVICE_ROUTES, cluster=with_sidecars), HERE) == {}
    assert istio.MESH.settings(seen(SERVICE_ROUTES, cluster=with_sidecars), HERE)


def test_a_label_of_the_service_comes_before_its_namespaces() -> None:
    whole = CLUSTER.replace("istio.io/dataplane-mode: ambient", "istio.io/use-waypoint: waypoint")
    assert MESH.changes(seen(cluster=whole), place("plain"), InFlightCap(5, None))
    out = whole.replace(
        "{name: plain, namespace: shop}", "{name: plain, namespace: shop, labels: {istio.io/use-waypoint: none}}"
    )
    assert "pass no waypoint" in refused(seen(cluster=out), InFlightCap(5, None), place("plain"))


def test_a_waypoint_of_another_namespace_is_believed() -> None:
    far = CLUSTER.replace("use-waypoint: waypoint}", "use-waypoint: far, istio.io/use-waypoint-namespace: infra}")
    assert MESH.changes(seen(cluster=far), HERE, InFlightCap(5, None))


def test_gateways_go_past_waypoints_unless_a_label_says_otherwise() -> None:
    gateway = place("api", caller="public-istio.shop.svc.cluster.local")
    assert "pass no waypoint" in refused(seen(), InFlightCap(5, None), gateway)
    assert istio.MESH.changes(seen(), gateway, InFlightCap(5, None))
    assert "have no sidecars" in refused(seen(), RateLimit(5.0), gateway, istio.MESH)
    assert "takes no VirtualService" in refused(seen(), Timeout(1.0, None), gateway, istio.MESH)
    through = CLUSTER.replace(
        "use-waypoint: waypoint}", 'use-waypoint: waypoint, istio.io/ingress-use-waypoint: "true"}'
    )
    assert MESH.changes(seen(cluster=through), gateway, InFlightCap(5, None))
    assert "is in ambient mode" in refused(seen(cluster=through), InFlightCap(5, None), gateway, istio.MESH)


def test_with_sidecars_an_attached_route_is_left_to_the_gateway_api() -> None:
    with_sidecars = CLUSTER.replace("istio.io/use-waypoint: waypoint", "a: b").replace("ambient}", "none}")
    found = seen(ROUTE, cluster=with_sidecars)
    assert "HTTPRoute shop/api is attached" in refused(found, Timeout(1.0, None), HERE, istio.MESH)
    assert GATEWAY in found.installed


def test_the_file_of_capabilities_agrees() -> None:
    found = seen(ROUTE)
    file_agrees(
        MESH,
        {
            Knob.WEIGHTS: (found, HERE, HALF),
            Knob.RETRIES: (found, HERE, RetryPolicy(1, 0.2)),
            Knob.TIMEOUT: (found, HERE, Timeout(2.0, 1.0)),
            Knob.OUTLIER_DETECTION: (found, HERE, OutlierDetection(0.3, 5)),
            Knob.CONNECTION_LIMITS: (seen(), HERE, ConnectionLimits(100, 50)),
            Knob.IN_FLIGHT_CAP: (seen(), HERE, InFlightCap(100, None)),
        },
    )
