"""SMI's TrafficSplit on a real API server with its definition."""

from __future__ import annotations

from typing import Any

from governor.adapters.meshes.smi import MESH
from governor.knobs import BackendWeights
from tests.adapters.meshes.manifests import SMI_SPLIT
from tests.adapters.meshes.objects import place

from .journey import Journey

SPLIT = SMI_SPLIT.replace(".shop.svc.cluster.local", "")
HALF = BackendWeights((("search-v1", 0.5), ("search-v2", 0.5)))


def test_weights(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, SPLIT)
    where = place("search", namespace, backends=("search-v1", "search-v2"))
    journey.shown(where, HALF, BackendWeights((("search-v1", 1.0), ("search-v2", 0.0))))


def test_a_split_whose_owner_has_not_opted_in_stays(cluster: Any, namespace: str) -> None:
    journey = Journey(cluster, namespace, MESH, SPLIT, opted_in=False)
    where = place("search", namespace)
    assert "stands in a list that its owner holds as a whole" in journey.refused(where, HALF)
    assert journey.mesh.settings(journey.seen(), where) != {}
