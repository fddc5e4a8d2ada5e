"""Knative Services and Routes on a real API server with their definitions; no controller runs."""

from __future__ import annotations

from typing import Any

from governor.adapters.meshes.knative import MESH
from governor.knobs import BackendWeights, Timeout

from .journey import Journey, place

HELLO = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    spec:
      timeoutSeconds: 300
      containers: [{image: hello, env: [{name: TARGET, value: World}]}]
  traffic:
  - {revisionName: hello-00001, percent: 90}
  - {latestRevision: true, percent: 10, tag: candidate}
  - {revisionName: hello-00001, tag: old}
status: {latestReadyRevisionName: hello-00002}
"""
ROUTE = """
apiVersion: serving.knative.dev/v1
kind: Route
metadata: {name: direct}
spec:
  traffic:
  - {revisionName: hello-00001, percent: 50}
  - {revisionName: hello-00002, percent: 50}
"""
REVISIONS = ("hello-00001", "hello-00002")


def test_percents_of_a_service(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, HELLO)
    where = place("hello", namespace, backends=REVISIONS)
    journey.shown(
        where,
        BackendWeights((("hello-00001", 0.25), ("hello-00002", 0.75))),
        BackendWeights((("hello-00001", 0.0), ("hello-00002", 1.0))),
    )


def test_percents_of_a_route(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, ROUTE)
    where = place("direct", namespace, backends=REVISIONS)
    one = BackendWeights((("hello-00001", 0.01), ("hello-00002", 0.99)))
    journey.shown(where, one, BackendWeights((("hello-00001", 0.5), ("hello-00002", 0.5))))


def test_timeout(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, HELLO)
    journey.shown(place("hello", namespace), Timeout(2.0, None), Timeout(60.0, None))
