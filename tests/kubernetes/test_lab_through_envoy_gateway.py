"""The lab with Envoy Gateway between the API server and its Envoys: its conditions, and effects on traffic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from governor.adapters.envoy_admin import EnvoyAdminSource
from governor.errors import LabError
from governor.lab.bed.programs import ENVOY_GATEWAY, KUBERNETES
from governor.lab.document_files import parse_scenario
from governor.lab.envoy_process import ask
from governor.lab.mesh import MeshLab
from governor.lab.through.envoy_gateway import EnvoyGatewayConfiguration

from .conftest import gateway_ports_free, require
from .traffic import SHOP, eventually, under_load

ROUTES = "gateway.networking.k8s.io/v1"
POLICIES = "gateway.envoyproxy.io/v1alpha1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, real_envoy: Path) -> Iterator[MeshLab]:
    """A running lab under load."""
    require((*KUBERNETES, ENVOY_GATEWAY))
    gateway_ports_free()
    with under_load(tmp_path_factory.mktemp("lab"), EnvoyGatewayConfiguration(), "127.0.0.1") as running:
        yield running


def stored(lab: MeshLab, version: str, kind: str, name: str) -> dict[str, Any]:
    assert isinstance(lab.configuration, EnvoyGatewayConfiguration)
    metadata = {"name": name, "namespace": "shop"}
    found: dict[str, Any] = lab.configuration.bed.api.get(
        {"apiVersion": version, "kind": kind, "metadata": metadata}
    )
    return found


def write(lab: MeshLab, version: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    assert isinstance(lab.configuration, EnvoyGatewayConfiguration)
    metadata = {"name": name, "namespace": "shop"}
    lab.configuration.bed.api.apply({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})


def conditions(document: dict[str, Any], parents: str) -> dict[str, str]:
    """Status by type of the conditions that are about the present generation."""
    generation = document["metadata"]["generation"]
    return {
        condition["type"]: condition["status"]
        for parent in document.get("status", {}).get(parents, ())
        for condition in parent["conditions"]
        if condition["observedGeneration"] == generation
    }


def attempts(lab: MeshLab, route: str) -> dict[str, int]:
    """Requests sent so far, by rule and backend of an HTTPRoute."""
    port = lab.layout.admin_ports["ingress"]
    text = ask(lab.address, port, f"/stats?usedonly&filter=cluster.httproute/shop/{route}/.*upstream_rq_total$")
    lines = [line.split(": ") for line in (text or "").splitlines()]
    return {name.split("/rule/")[1].partition(".")[0]: int(count) for name, count in lines}


def test_edges_are_named_by_host_and_replicas_are_their_backends(lab: MeshLab) -> None:
    urls = list(lab.admin_urls.values())
    with closing(EnvoyAdminSource(urls, [lab.metrics_url], step_s=0.5)) as source:
        frame = source.observe(3.0)
    index = frame.index
    web, stock = (f"{name}-0.shop.svc.cluster.local" for name in ("web", "stock"))
    assert set(index.edges) == {f"ingress.shop|{web}", f"web.shop|{stock}"}
    assert set(index.apis) == {"buy.high", "buy.low"}
    assert {index.edges[at] for at in index.api_edge} == {f"ingress.shop|{web}"}
    assert set(index.backends) == {"web-0", "web-1", "stock-0", "stock-1"}
    rates = dict(zip(index.edges, frame.edge.rate, strict=True))
    assert rates[f"ingress.shop|{web}"] == pytest.approx(100, rel=0.3)


def test_routes_and_policies_are_accepted_at_their_generation(lab: MeshLab) -> None:
    def accepted() -> bool:
        route = conditions(stored(lab, ROUTES, "HTTPRoute", "buy.high"), "parents")
        policy = conditions(stored(lab, POLICIES, "BackendTrafficPolicy", "ingress"), "ancestors")
        return (route.get("Accepted"), route.get("ResolvedRefs"), policy.get("Accepted")) == ("True",) * 3

    assert eventually(accepted)


def test_a_second_policy_for_a_route_is_refused_in_its_conditions(lab: MeshLab) -> None:
    match = {"path": {"type": "PathPrefix", "value": "/nobody-asks"}}
    rules = [{"matches": [match], "backendRefs": [{"name": "web-0", "port": 80}]}]
    write(lab, ROUTES, "HTTPRoute", "unused", {"parentRefs": [{"name": "ingress"}], "rules": rules})
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "unused"}
    for name in ("first", "second"):
        write(lab, POLICIES, "BackendTrafficPolicy", name, {"targetRefs": [target]})

    def refused() -> bool:
        policy = stored(lab, POLICIES, "BackendTrafficPolicy", "second")
        return conditions(policy, "ancestors").get("Accepted") == "False"

    assert eventually(refused)


def test_weights_shift_traffic(lab: MeshLab) -> None:
    spec = stored(lab, ROUTES, "HTTPRoute", "buy.high")["spec"]
    for rule in spec["rules"]:
        # Not 0: Envoy Gateway then has no cluster for it, and the edge is named after the next.
        rule["backendRefs"][0]["weight"], rule["backendRefs"][1]["weight"] = 1, 99
    write(lab, ROUTES, "HTTPRoute", "buy.high", spec)

    def shifted() -> bool:
        before = attempts(lab, "buy.high")
        grown = eventually(lambda: sum(attempts(lab, "buy.high").values()) > sum(before.values()) + 50)
        more = {name: count - before.get(name, 0) for name, count in attempts(lab, "buy.high").items()}
        first = sum(count for name, count in more.items() if name.endswith("/backend/0"))
        return grown and first < 0.1 * sum(more.values())

    assert eventually(shifted)


def test_a_cap_takes_effect(lab: MeshLab) -> None:
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "buy.high"}
    spec = {
        "targetRefs": [target],
        "mergeType": "StrategicMerge",
        "circuitBreaker": {"maxParallelRequests": 44},
    }
    write(lab, POLICIES, "BackendTrafficPolicy", "capped", spec)

    def capped() -> bool:
        text = ask(lab.address, lab.layout.admin_ports["ingress"], "/clusters") or ""
        return "httproute/shop/buy.high/rule/0/backend/0::default_priority::max_requests::44\n" in text

    assert eventually(capped)


def test_another_address_is_refused_with_the_one_that_works(tmp_path: Path, real_envoy: Path) -> None:
    scenario = parse_scenario(SHOP, Path("shop.yaml"))
    lab = MeshLab(scenario, tmp_path, "127.0.78.2", configuration=EnvoyGatewayConfiguration())
    with pytest.raises(LabError, match=r"--address 127\.0\.0\.1"):
        lab.start()
