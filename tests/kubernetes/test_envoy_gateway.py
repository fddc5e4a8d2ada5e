"""Envoy Gateway's policies on a real API server, and its own controller's word on them."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_objects import Ref
from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.kubernetes_status import complaint, taken
from governor.adapters.meshes.envoy_gateway import MESH
from governor.adapters.meshes.envoy_gateway_policies import POLICY
from governor.adapters.meshes.gateway_objects import HTTP_ROUTE
from governor.errors import LabError, WriteRejected
from governor.knobs import (
    VALUE_TYPES,
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.lab.bed.envoy_gateway import CONTROLLER
from governor.lab.bed.kubernetes import KubernetesBed
from governor.observe.index import EdgeName, mesh_index
from tests.adapters.meshes.manifests import ENVOY_GATEWAY_FULL_POLICY
from tests.adapters.meshes.manifests import ENVOY_GATEWAY_POLICY as POLICY_OF_ROUTE
from tests.adapters.meshes.objects import place

from .capabilities import record
from .journey import Journey

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: public}]
  rules:
  - backendRefs: [{name: api-v1, port: 80, weight: 9}, {name: api-v2, port: 80}]
"""
HEAD, RULE = ROUTE.split("  - ")
HIGH = "  - name: high\n    matches: [{headers: [{name: x-priority, value: high}]}]\n    "
CLASSES = HEAD + HIGH + RULE + "  - name: main\n    " + RULE
# Some users leave the type out.
FULL = (
    ENVOY_GATEWAY_FULL_POLICY.replace("    type: Local\n", "").replace(
        "200}", "200, retryBudget: {percent: {numerator: 25}}}"
    )
    + "  healthCheck: {passive: {consecutive5XxErrors: 9}}\n"
)
ABOVE = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: all}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  circuitBreaker: {maxConnections: 70}
"""
BACKENDS = ("api-v1", "api-v2")
PAIRS: tuple[tuple[KnobValue, KnobValue], ...] = (
    (BackendWeights((("api-v1", 0.5), ("api-v2", 0.5))), BackendWeights((("api-v1", 1.0), ("api-v2", 0.0)))),
    (Timeout(2.5, None), Timeout(200.0, None)),
    (RetryPolicy(3, 0.25), RetryPolicy(0, 0.0)),
    (InFlightCap(64, 64), InFlightCap(32, 32)),
    (ConnectionLimits(100, 50), ConnectionLimits(20, 10)),
    (OutlierDetection(0.3, 7), OutlierDetection(0.5, 3)),
    (RateLimit(25.0), RateLimit(0.5)),
)


def edge(namespace: str, **more: Any) -> Any:
    return place("api", namespace, backends=BACKENDS, apis=("api",), api="api", **more)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: type(pair[0]).__name__)
@pytest.mark.parametrize(
    "policies", [(), (POLICY_OF_ROUTE,), (FULL,), (ABOVE,)], ids=["own", "bare", "full", "above"]
)
def test_every_knob_is_applied_changed_and_given_back(
    cluster: Any, namespace: str, policies: tuple[str, ...], pair: tuple[KnobValue, KnobValue]
) -> None:
    journey = Journey(cluster, namespace, MESH, "---".join((ROUTE, *policies)))
    journey.shown(edge(namespace), *pair)


def test_each_class_has_a_cap_of_its_own(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, f"{CLASSES}---{ABOVE}")
    journey.shown(edge(namespace), InFlightCap(40, 60), InFlightCap(30, 50))


def test_a_try_has_a_timeout_beside_retries(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, f"{ROUTE}---{FULL}")
    journey.shown(edge(namespace), Timeout(2.5, 1.25), Timeout(3.0, 0.5))


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("mergeType: Replace", "Replace is not a valid MergeType"),
        ("circuitBreaker: {retryBudget: {percent: {numerator: 101}}}", "numerator must be less than or equal"),
        ("circuitBreaker: {maxConnections: 4294967296}", "should be less than or equal to 4294967295"),
        ("timeout: {http: {requestTimeout: 1.5s}}", "should match"),
    ],
)
def test_the_servers_rules_are_those_that_stand_in_rules_envoy_gateway(
    cluster: Any, namespace: str, spec: str, problem: str
) -> None:
    with pytest.raises(LabError, match=problem):
        Journey(cluster, namespace, MESH, f"{POLICY_OF_ROUTE}  {spec}\n")


SHOP = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec: {gatewayClassName: governed, listeners: [{name: http, port: 18888, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: api-v1}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: api-v2}
spec: {ports: [{name: http, port: 80}]}
"""
EDGE = "public|api"
WRONG = """
  rateLimit: {local: {rules: [{limit: {requests: 5, unit: Second}}, {limit: {requests: 6, unit: Second}}]}}
"""


class Governed:
    """A namespace whose Gateway a running Envoy Gateway serves, and the governor's control plane over it."""

    def __init__(self, bed: KubernetesBed, namespace: str, *manifests: str) -> None:
        self.api = KubernetesApi(api_client(bed.kubeconfig))
        bed.api.apply(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "GatewayClass",
                "metadata": {"name": "governed"},
                "spec": {"controllerName": CONTROLLER},
            }
        )
        for document in yaml.safe_load_all("---".join((SHOP, *manifests))):
            metadata = document["metadata"] | {"namespace": namespace, "annotations": {MAY_EDIT: "all"}}
            bed.api.apply(document | {"metadata": metadata}, manager="a-user")
        options = PlaneOptions((MESH,), namespace, (namespace,))
        self.plane = KubernetesControlPlane(self.api, options)
        host = f"api.{namespace}.svc.cluster.local"
        self.plane.read(
            mesh_index([EdgeName(EDGE, "public", host)], [(EDGE, name) for name in BACKENDS], {"api": EDGE})
        )
        self.route = Ref(HTTP_ROUTE, namespace, "api")

    def settled(self, ref: Ref) -> dict[str, Any]:
        """The object once the controller has spoken of its generation."""
        until = time.monotonic() + 20
        while taken(body := dict(self.api.get(ref))) is None:
            assert time.monotonic() < until, body.get("status")
            time.sleep(0.1)
        return body


@pytest.mark.usefixtures("envoy_gateway")
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: type(pair[0]).__name__)
def test_the_controller_takes_every_knob_at_its_generation(
    bed: KubernetesBed, namespace: str, pair: tuple[KnobValue, KnobValue]
) -> None:
    governed = Governed(bed, namespace, ROUTE, ABOVE)
    before = governed.settled(governed.route)["spec"]
    (knob,) = (knob for knob, kind in VALUE_TYPES.items() if isinstance(pair[0], kind))
    target = Target(TargetKind.API, "api") if knob is Knob.RATE_LIMIT else Target(TargetKind.EDGE, EDGE)
    for value in pair:
        receipt = governed.plane.write(target, knob, value)
        assert receipt.after == value
        ref = governed.route if knob is Knob.WEIGHTS else Ref(POLICY, namespace, "api-http-governor")
        assert taken(governed.api.get(ref)) is True
    governed.plane.release()
    assert governed.api.get(governed.route)["spec"] == before
    assert [ref.name for ref, _ in governed.api.list_of(POLICY, namespace)] == ["all"]
    record(MESH.name, knob.value, "taken by Envoy Gateway at the object's generation")


@pytest.mark.usefixtures("envoy_gateway")
def test_what_the_controller_refuses_is_put_back(bed: KubernetesBed, namespace: str) -> None:
    governed = Governed(bed, namespace, ROUTE, POLICY_OF_ROUTE + WRONG)
    theirs = Ref(POLICY, namespace, "theirs")
    before = governed.settled(theirs)
    assert "more than one rule without clientSelectors" in complaint(before)
    with pytest.raises(WriteRejected, match="more than one rule without clientSelectors"):
        governed.plane.write(Target(TargetKind.EDGE, EDGE), Knob.TIMEOUT, Timeout(2.0, None))
    assert governed.api.get(theirs)["spec"] == before["spec"]
