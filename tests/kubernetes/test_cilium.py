"""Cilium's objects on a real API server with their definitions.

No agent runs, which alone would judge the Envoy resources in them.
"""

from __future__ import annotations

from typing import Any

from governor.adapters.kubernetes_objects import ENDPOINT_SLICE
from governor.adapters.meshes.cilium import MESH
from governor.adapters.meshes.cilium_envoy_config import own_ref
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    OutlierDetection,
    RetryPolicy,
    Timeout,
)
from tests.adapters.meshes.manifests import CILIUM_ROUTE, CILIUM_SERVICE, CILIUM_SLICE
from tests.adapters.meshes.objects import place

from .journey import Journey

SERVICE = f"{CILIUM_SERVICE}---{CILIUM_SLICE}"


def test_a_route(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, f"{SERVICE}---{CILIUM_ROUTE}")
    where = place("books", namespace, backends=("books-v1", "books-v2"))
    half = BackendWeights((("books-v1", 0.5), ("books-v2", 0.5)))
    journey.shown(where, half, BackendWeights((("books-v1", 0.0), ("books-v2", 1.0))))
    journey.shown(where, Timeout(2.5, 1.0), Timeout(3.0, None))
    journey.shown(where, RetryPolicy(1, None), RetryPolicy(3, None))


def test_a_config_of_our_own(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, SERVICE, also=ENDPOINT_SLICE)
    where = place("books", namespace)
    journey.shown(where, RetryPolicy(1, 0.1), RetryPolicy(2, 0.0), RetryPolicy(None, 0.2))
    journey.shown(where, OutlierDetection(0.3, 5), OutlierDetection(0.1, None))
    journey.shown(where, InFlightCap(100, None), InFlightCap(50, None))
    journey.shown(where, ConnectionLimits(200, 40), ConnectionLimits(None, 20))


def test_knobs_that_share_a_config_go_one_by_one(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, SERVICE, also=ENDPOINT_SLICE)
    where = place("books", namespace)
    for value in (InFlightCap(100, None), OutlierDetection(0.3, 5), RetryPolicy(2, 0.2)):
        journey.write(where, value)
    assert {Knob.IN_FLIGHT_CAP, Knob.OUTLIER_DETECTION, Knob.RETRIES} == set(MESH.settings(journey.seen(), where))
    assert journey.seen().get(own_ref(where)) is not None
    journey.give_back(Knob.IN_FLIGHT_CAP)
    assert set(MESH.settings(journey.seen(), where)) == {Knob.OUTLIER_DETECTION, Knob.RETRIES}
    journey.give_back()
    assert journey.seen().get(own_ref(where)) is None
