"""Linkerd's objects on a real API server with their definitions; no controller runs."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.meshes.linkerd import MESH
from governor.knobs import BackendWeights, OutlierDetection, RateLimit, RetryPolicy, Timeout
from tests.adapters.meshes.manifests import LINKERD_LIMIT as LIMIT
from tests.adapters.meshes.manifests import LINKERD_PROFILE
from tests.adapters.meshes.manifests import LINKERD_SERVER as SERVER
from tests.adapters.meshes.manifests import LINKERD_SERVICE as SERVICE
from tests.adapters.meshes.objects import place

from .journey import Journey

RETRYING = SERVICE.replace("team: books", '"retry.linkerd.io/http": "500-504", "retry.linkerd.io/limit": "3"')
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: books, annotations: {"retry.linkerd.io/http": 5xx, "timeout.linkerd.io/request": 2s}}
spec:
  parentRefs: [{group: "", kind: Service, name: books, port: 80}]
  rules: [{backendRefs: [{name: books, port: 80}]}]
"""
SPLIT = """
apiVersion: API
kind: HTTPRoute
metadata: {name: books}
spec:
  parentRefs: [{group: "", kind: Service, name: books, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /old}}]
    backendRefs: [{name: books-v1, port: 80}]
  - backendRefs: [{name: books-v1, port: 80, weight: 9}, {name: books-v2, port: 80}]
"""


def stream(*manifests: str) -> str:
    return "---".join(manifests)


def test_retries_of_a_service(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, RETRYING)
    journey.shown(place("books", namespace), RetryPolicy(1, None), RetryPolicy(0, None), RetryPolicy(2, None))


def test_retries_and_timeout_of_a_route(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, stream(SERVICE, ROUTE))
    where = place("books", namespace)
    journey.shown(where, RetryPolicy(4, None), RetryPolicy(0, None))
    journey.shown(where, Timeout(1.5, 0.25), Timeout(3.0, None))


def test_what_nobody_wrote_needs_no_opting_in(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, SERVICE, opted_in=False)
    where = place("books", namespace)
    journey.shown(where, Timeout(1.5, None), Timeout(3.0, None))
    journey.shown(where, OutlierDetection(None, 5), OutlierDetection(None, 9))


def test_annotations_of_a_user_stay_without_opting_in(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, RETRYING, opted_in=False)
    assert "is set by a-user" in journey.refused(place("books", namespace), RetryPolicy(0, None))


def test_a_rate_limit_of_our_own(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, stream(SERVICE, SERVER), opted_in=False)
    where = place("books", namespace, callee_proxies=2, api="books", apis=("books",))
    journey.shown(where, RateLimit(50.0), RateLimit(20.0))


def test_a_rate_limit_of_the_users(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, stream(SERVICE, SERVER, LIMIT))
    where = place("books", namespace, callee_proxies=2, api="books", apis=("books",))
    journey.shown(where, RateLimit(60.0), RateLimit(40.0))


def test_the_budget_of_a_service_profile(cluster: Any, namespace: str) -> None:
    profile = LINKERD_PROFILE.replace("books.shop", f"books.{namespace}")
    journey = Journey(cluster, namespace, MESH, stream(SERVICE, profile))
    journey.shown(place("books", namespace), RetryPolicy(None, 0.05), RetryPolicy(None, 0.0))


@pytest.mark.parametrize("version", ["gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3"])
def test_weights_of_a_route(cluster: Any, namespace: str, version: str) -> None:
    journey = Journey(cluster, namespace, MESH, stream(SERVICE, SPLIT.replace("API", version)))
    where = place("books", namespace, backends=("books-v1", "books-v2"))
    journey.shown(
        where,
        BackendWeights((("books-v1", 0.5), ("books-v2", 0.5))),
        BackendWeights((("books-v1", 0.0), ("books-v2", 1.0))),
    )
