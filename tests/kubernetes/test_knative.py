"""Knative Services and Routes on a real API server with their definitions; no controller runs."""

from __future__ import annotations

from typing import Any

from governor.adapters.meshes.knative import MESH
from governor.knobs import BackendWeights, Timeout
from tests.adapters.meshes.manifests import KNATIVE_DIRECT, KNATIVE_HELLO
from tests.adapters.meshes.objects import place

from .journey import Journey

REVISIONS = ("hello-00001", "hello-00002")


def test_percents_of_a_service(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, KNATIVE_HELLO)
    where = place("hello", namespace, backends=REVISIONS)
    journey.shown(
        where,
        BackendWeights((("hello-00001", 0.25), ("hello-00002", 0.75))),
        BackendWeights((("hello-00001", 0.0), ("hello-00002", 1.0))),
    )


def test_percents_of_a_route(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, KNATIVE_DIRECT)
    where = place("direct", namespace, backends=REVISIONS)
    one = BackendWeights((("hello-00001", 0.01), ("hello-00002", 0.99)))
    journey.shown(where, one, BackendWeights((("hello-00001", 0.5), ("hello-00002", 0.5))))


def test_timeout(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, KNATIVE_HELLO)
    journey.shown(place("hello", namespace), Timeout(2.0, None), Timeout(60.0, None))
