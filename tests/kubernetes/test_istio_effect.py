"""What the governor writes for Istio reaches stock Envoys through istiod, and leaves them again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.istio import MESH
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.lab.bed.programs import ISTIOD, KUBERNETES
from governor.lab.mesh import MeshLab
from governor.lab.through.istio import IstioConfiguration
from governor.observe.index import EdgeName, mesh_index

from .conftest import require
from .traffic import eventually, under_load

WEB = "web.shop.svc.cluster.local"
INTO_WEB = f"ingress.shop|{WEB}"
EDGE = Target(TargetKind.EDGE, INTO_WEB)
# Limits count in the cluster of each of the two subsets: half of each, of priority HIGH with room for bursts.
VALUES: list[tuple[Knob, KnobValue]] = [
    (Knob.IN_FLIGHT_CAP, InFlightCap(42, 61)),
    (Knob.CONNECTION_LIMITS, ConnectionLimits(102, 22)),
    (Knob.OUTLIER_DETECTION, OutlierDetection(0.31, 7)),
    (Knob.RETRIES, RetryPolicy(1, 0.15)),
    (Knob.TIMEOUT, Timeout(1.501, 0.401)),
    (Knob.WEIGHTS, BackendWeights((("r0", 0.83), ("r1", 0.17)))),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, real_envoy: Path) -> Iterator[MeshLab]:
    """A running lab under load."""
    del real_envoy
    require((*KUBERNETES, ISTIOD))
    with under_load(tmp_path_factory.mktemp("lab"), IstioConfiguration(subsets=True), "127.0.79.1") as running:
        yield running


def dumped(lab: MeshLab, caller: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The cluster for all of `web`, and the routes to it, as the caller's Envoy has them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{lab.admin_urls[caller]}/config_dump", timeout=10) as answer:
        configs = json.loads(answer.read())["configs"]
    clusters = {
        entry["cluster"]["name"]: entry["cluster"]
        for part in configs
        for entry in part.get("dynamic_active_clusters", ())
    }
    (cluster,) = (cluster for name, cluster in clusters.items() if name.endswith(f"|r0|{WEB}"))
    routes = [
        route
        for part in configs
        for entry in part.get("dynamic_route_configs", ())
        for host in entry["route_config"].get("virtual_hosts", ())
        if host["name"].startswith(WEB)
        for route in host["routes"]
    ]
    return cluster, routes


def in_force(lab: MeshLab) -> bool:
    cluster, routes = dumped(lab, "ingress")
    limits = {t.get("priority", "DEFAULT"): t for t in cluster["circuit_breakers"]["thresholds"]}
    actions = {route["name"]: route["route"] for route in routes}
    weights = [part["weight"] for part in actions["main"]["weighted_clusters"]["clusters"]]
    return (
        limits["DEFAULT"].get("max_requests") == 21
        and limits.get("HIGH", {}).get("max_requests") == 37
        and limits["DEFAULT"].get("max_connections") == 51
        and limits["DEFAULT"].get("max_pending_requests") == 11
        and limits["DEFAULT"].get("retry_budget", {}).get("budget_percent") == {"value": 15}
        and cluster["outlier_detection"].get("max_ejection_percent") == 31
        and cluster["outlier_detection"].get("consecutive_5xx") == 7
        and all(action["timeout"] == "1.501s" for action in actions.values())
        and all(action["retry_policy"]["num_retries"] == 1 for action in actions.values())
        and all(action["retry_policy"]["per_try_timeout"] == "0.401s" for action in actions.values())
        and [action.get("priority") for action in (actions["high"], actions["main"])] == ["HIGH", None]
        and weights == [83, 17]
    )


def test_every_knob_reaches_the_proxies_and_leaves_them(lab: MeshLab) -> None:
    configuration = lab.configuration
    assert isinstance(configuration, IstioConfiguration)
    bed = configuration.bed
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mesh-governor"}}
    bed.api.apply(namespace)
    api = KubernetesApi(api_client(bed.kubeconfig))
    plane = KubernetesControlPlane(api, PlaneOptions((MESH,), "mesh-governor", ("shop",)))
    index = mesh_index(
        [EdgeName(INTO_WEB, "ingress.shop", WEB)], [(INTO_WEB, "r0"), (INTO_WEB, "r1")], {"buy": INTO_WEB}
    )
    before = dumped(lab, "ingress")
    for knob, value in VALUES:
        plane.read(index)
        assert plane.write(EDGE, knob, value).after == value
    assert eventually(lambda: in_force(lab))
    plane.release()
    assert eventually(lambda: dumped(lab, "ingress") == before)
