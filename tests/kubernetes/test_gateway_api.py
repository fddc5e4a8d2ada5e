"""Routes and budgets of the Gateway API on a real API server with its experimental definitions."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.meshes.gateway_api import MESH
from governor.errors import LabError
from governor.knobs import BackendWeights, RetryPolicy, Timeout
from tests.adapters.meshes.manifests import GATEWAY_API_ROUTE
from tests.adapters.meshes.objects import place

from .journey import Journey

ROUTE = GATEWAY_API_ROUTE + "    retry: {codes: [503], attempts: 1}\n"
BUDGET = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: budgets}
spec:
  targetRefs: [{group: "", kind: Service, name: reviews-v1}, {group: "", kind: Service, name: reviews-v2}]
"""
BACKENDS = ("reviews-v1", "reviews-v2")


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_weights(cluster: Any, namespace: str, kind: str) -> None:
    text = GATEWAY_API_ROUTE.replace("HTTPRoute", kind)
    where = place("reviews", namespace, backends=BACKENDS)
    journey = Journey(cluster, namespace, MESH, text)
    halves = BackendWeights((("reviews-v1", 0.5), ("reviews-v2", 0.5)))
    journey.shown(where, halves, BackendWeights((("reviews-v1", 1.0), ("reviews-v2", 0.0))))


def test_timeouts(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, ROUTE)
    where = place("reviews", namespace, backends=BACKENDS)
    journey.shown(where, Timeout(2.5, 1.25), Timeout(200.0, 0.5), Timeout(3.0, None))


def test_retries_and_a_budget_of_the_governors_own(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, ROUTE)
    where = place("reviews", namespace, backends=BACKENDS)
    journey.shown(where, RetryPolicy(3, 0.25), RetryPolicy(2, 0.0))


@pytest.mark.parametrize(
    "constraint", ["", "  retryConstraint: {budget: {percent: 40, interval: 30s}}\n", "  retryConstraint: {}\n"]
)
def test_a_budget_in_a_users_policy(cluster: Any, namespace: str, constraint: str) -> None:
    journey = Journey(cluster, namespace, MESH, ROUTE + "---" + BUDGET + constraint)
    where = place("reviews", namespace, backends=BACKENDS)
    journey.shown(where, RetryPolicy(1, 0.25), RetryPolicy(1, 0.1))


def test_without_their_owners_leave_routes_stay_as_they_are(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, ROUTE, opted_in=False)
    where = place("reviews", namespace, backends=BACKENDS)
    assert "annotate the object" in journey.refused(where, Timeout(2.5, None))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("timeouts: {request: 1s, backendRequest: 2s}", "backendRequest timeout cannot be longer than request"),
        ("timeouts: {request: 1.5s}", "should match"),
        ("timeouts: {request: 123456ms}", "should match"),
        ("retry: {attempts: 0}", "should be greater than or equal to 1"),
    ],
)
def test_the_servers_rules_are_those_that_stand_in_rules_gateway_api(
    cluster: Any, namespace: str, rule: str, problem: str
) -> None:
    with pytest.raises(LabError, match=problem):
        Journey(cluster, namespace, MESH, ROUTE.replace("retry: {codes: [503], attempts: 1}", rule))
