"""Envoy Gateway's policies on a real API server, and its own controller's word on them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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

from .journey import Journey, place

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: public}]
  rules:
  - backendRefs: [{name: api-v1, port: 80, weight: 9}, {name: api-v2, port: 80}]
"""
CLASSES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: public}]
  rules:
  - name: high
    matches: [{headers: [{name: x-priority, value: high}]}]
    backendRefs: [{name: api-v1, port: 80, weight: 9}, {name: api-v2, port: 80}]
  - name: main
    backendRefs: [{name: api-v1, port: 80, weight: 9}, {name: api-v2, port: 80}]
"""
POLICY_OF_ROUTE = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: theirs}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: api}]
  loadBalancer: {type: LeastRequest}
"""
FULL = (
    POLICY_OF_ROUTE
    + """
  retry: {numRetries: 4, retryOn: {triggers: [5xx]}, perRetry: {timeout: 250ms}}
  timeout: {http: {requestTimeout: 1m}}
  circuitBreaker: {maxParallelRequests: 200, retryBudget: {percent: {numerator: 25}}}
  healthCheck: {passive: {consecutive5XxErrors: 9}}
  rateLimit:
    local:
      rules:
      - clientSelectors: [{headers: [{name: x-user, value: john}]}]
        limit: {requests: 3, unit: Hour}
      - limit: {requests: 90, unit: Minute}
"""
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
    journey = Journey(cluster, namespace, MESH, "---".join((CLASSES, ABOVE)))
    journey.shown(edge(namespace), InFlightCap(40, 60), InFlightCap(30, 50))


def test_a_try_has_a_timeout_beside_retries(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, "---".join((ROUTE, FULL)))
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
