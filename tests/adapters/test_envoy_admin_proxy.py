"""Names in the numbers of Istio's Envoys: caller by its node, callee by the cluster, subsets as backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from governor.adapters.envoy_admin_names import callees_by_backend, services_by_name
from governor.adapters.envoy_admin_proxy import Node, Proxy, hosts_in, node_in, services_in
from governor.adapters.envoy_admin_series import Series, SeriesBook
from governor.adapters.envoy_admin_subsets import backends_of, with_backends
from governor.adapters.envoy_admin_tables import RowFinder, Sheet, Tables
from governor.observe.index import EdgeName, mesh_index

API, WEB = "api.shop.svc.cluster.local", "web.shop.svc.cluster.local"


def info(name: str, kind: str = "sidecar", **labels: str) -> dict[str, Any]:
    node = f"{kind}~10.0.0.7~{name}.shop~shop.svc.cluster.local"
    return {"node": {"id": node, "metadata": {"LABELS": labels}}}


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        (info("web-5d9c7b8f6d-abcde"), "web"),
        (info("web-5d9c7b8f6d-abcde", app="shop-web"), "shop-web"),
        (info("x", "router", **{"service.istio.io/canonical-name": "gateway", "app": "other"}), "gateway"),
    ],
)
def test_the_caller_is_the_canonical_service(said: dict[str, Any], canonical: str) -> None:
    assert node_in(said) == Node(canonical, "shop", "shop.svc.cluster.local")


@pytest.mark.parametrize("said", [{}, {"node": {"id": "lab"}}, {"node": {"id": "ingress~10.0.0.7~a.b~c"}}])
def test_an_envoy_that_is_not_istios_has_no_caller(said: dict[str, Any]) -> None:
    assert node_in(said).proxy({API}, {}) == Proxy()


def test_a_caller_that_is_called_itself_has_its_hosts_name() -> None:
    node = Node("web", "shop", "shop.svc.cluster.local")
    assert node.proxy({API, WEB}, {}).caller == WEB
    assert node.proxy({API}, {}).caller == "web.shop"


@pytest.mark.parametrize(
    ("cluster", "edge", "subset"),
    [
        (f"outbound|80|r1|{API}", f"{WEB}|{API}", "r1"),
        (f"outbound|80||{API}", f"{WEB}|{API}", None),
        (f"outbound|80||{API};", f"{WEB}|{API}", None),
        ("out|a|b", "out|a|b", None),
    ],
)
def test_a_cluster_belongs_to_an_edge(cluster: str, edge: str, subset: str | None) -> None:
    owner = Proxy(WEB).owner(cluster)
    assert owner is not None
    assert (owner.edge.name, owner.subset) == (edge, subset)


@pytest.mark.parametrize("cluster", ["inbound|80||", "BlackHoleCluster", "xds-grpc"])
def test_clusters_that_carry_no_requests_of_users_belong_to_nobody(cluster: str) -> None:
    assert Proxy(WEB).owner(cluster) is None


def test_hosts_are_those_of_outbound_clusters() -> None:
    names = [f"outbound|80||{API}", f"outbound|80|r1|{WEB}", "inbound|80||", "out|a|b"]
    document = {"configs": [{"cluster": {"name": name}} for name in names]}
    assert hosts_in(document) == {API, WEB}


def test_a_page_of_istios_is_read_by_its_names() -> None:
    book = SeriesBook("page")
    book.proxy = Proxy(WEB)
    page = f"""
envoy_cluster_upstream_rq_total{{cluster_name="outbound|80|r0|{API}"}} 70
envoy_cluster_upstream_rq_total{{cluster_name="outbound|80|r1|{API}"}} 30
envoy_cluster_upstream_rq_completed{{cluster_name="outbound|80|r1|{API}"}} 29
envoy_cluster_upstream_rq{{response_code_class="5xx",cluster_name="outbound|80|r1|{API}"}} 4
envoy_cluster_upstream_rq{{response_code_class="2xx",cluster_name="outbound|80|r1|{API}"}} 25
envoy_cluster_membership_total{{cluster_name="outbound|80||{API}"}} 2
envoy_cluster_membership_total{{cluster_name="outbound|80|r1|{API}"}} 1
envoy_cluster_upstream_rq_total{{cluster_name="inbound|80||"}} 99
"""
    values = book.read(page)
    edge = f"{WEB}|{API}"
    series, found = with_backends(book.series, values[None, :])
    read = {(one.table, one.signal, one.subject): float(v) for one, v in zip(series, found[0], strict=True)}
    assert read == {
        ("edge", "attempts", (edge, "r0")): 70,
        ("edge", "attempts", (edge, "r1")): 30,
        ("edge", "rate", (edge, "r1")): 29,
        ("edge", "errors", (edge, "r1")): 4,
        ("edge", "members", (edge,)): 2,
        ("backend", "rate", (edge, "r0")): 70,
        ("backend", "rate", (edge, "r1")): 30,
        ("backend", "success", (edge, "r1")): 25,
    }
    assert set(book.edges) == {edge}


def test_the_backends_of_an_edge_that_is_split_are_its_subsets_and_not_their_endpoints() -> None:
    edges = [("a|b",), ("a|b", "v1"), ("a|b", "v2"), ("a|c",)]
    endpoints = [("a|b", "10.0.0.1:80"), ("a|c", "10.0.0.2:80")]
    found = backends_of(edges, [("a|b", "v1"), *endpoints, ("a|b", "v2")])
    assert found == [("a|b", "v1"), ("a|c", "10.0.0.2:80"), ("a|b", "v2")]


def test_a_page_without_subsets_stays_as_it_is() -> None:
    series = [Series("edge", "rate", "counter", ("out|a|b",), 0.0)]
    values = np.ones((2, 1))
    assert with_backends(series, values) == (series, values)


def cluster(name: str, service: str) -> dict[str, Any]:
    resources = [{"kind": "Service", "name": service, "namespace": "shop"}]
    metadata = {"filter_metadata": {"envoy-gateway": {"resources": resources}}}
    return {"cluster": {"name": name, "load_assignment": {"endpoints": [{"metadata": metadata}]}}}


def test_clusters_of_envoy_gateway_belong_to_the_rules_first_service() -> None:
    document = {
        "configs": [
            cluster("httproute/shop/buy/rule/0/backend/1", "web-b"),
            cluster("httproute/shop/buy/rule/0/backend/0", "web-a"),
            cluster("httproute/shop/look/rule/0", "web-a"),
            {"cluster": {"name": "httproute/shop/unknown/rule/0"}},
            {"cluster": {"name": "xds_cluster"}},
        ]
    }
    proxy = node_in({"node": {"id": "x", "cluster": "shop/gate"}}).proxy(set(), services_in(document))
    edge = "gate.shop|web-a.shop.svc.cluster.local"
    owned = {name: proxy.owner(name) for name in services_in(document)}
    assert {name: (owner.edge.name, owner.subset) for name, owner in owned.items() if owner} == {
        "httproute/shop/buy/rule/0/backend/0": (edge, "web-a"),
        "httproute/shop/buy/rule/0/backend/1": (edge, "web-b"),
        "httproute/shop/look/rule/0": (edge, None),
    }
    assert proxy.owner("xds_cluster") is None


def test_a_workloads_short_name_is_its_host_where_no_other_begins_so() -> None:
    names = (
        "api.shop.svc.cluster.local",
        "db.a.svc.cluster.local",
        "db.b.svc.cluster.local",
        "ingress.shop",
        "web",
    )
    found = services_by_name(names)
    assert found["api"] == found["api.shop.svc.cluster.local"] == 0
    assert "db" not in found
    assert "ingress" not in found
    assert found["web"] == 4


def test_work_of_every_backend_counts_for_the_callee_that_they_share() -> None:
    edges = [EdgeName(f"gate|{host}", "gate", host) for host in (API, WEB)]
    backends = [(f"gate|{WEB}", "web-0"), (f"gate|{WEB}", "web-1"), (f"gate|{WEB}", "v1"), (f"gate|{API}", "v1")]
    index = mesh_index(edges, backends)
    found = callees_by_backend(index)
    assert found == dict.fromkeys(("web-0", "web-1"), index.services.index(WEB))
    page = Sheet(
        "page",
        times=np.array([0.0, 1.0]),
        values=np.array([[0.0, 0.0, 0.0], [0.5, 0.25, 9.0]]),
        series=[
            Series("service", "cpu_used", "counter", subject, 0.0)
            for subject in (("shop", "web-0"), ("web-1", "x"), ("v1", "v1"))
        ],
        hides_zero=False,
    )
    cpu, _ = Tables([page], RowFinder(index)).rate("service", "cpu_used", zero=True)
    assert dict(zip(index.services, cpu.tolist(), strict=True)) == {"gate": 0.0, API: 0.0, WEB: 0.75}
