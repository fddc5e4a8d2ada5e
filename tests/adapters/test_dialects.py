"""What every dialect keeps to, without a Prometheus: signals or words for each, names, how many queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

import numpy as np
import pytest

from governor.adapters.prometheus import PrometheusOptions
from governor.adapters.prometheus_names import names_of
from governor.adapters.prometheus_queries import DIALECTS, Labels, read_dialect
from governor.domain import GapReason, MeshFrame
from governor.errors import SourceRefused
from governor.observe.frame import KINDS
from governor.settings import PrometheusSettings

from .fake_prometheus import NOW, FakePrometheus, Row
from .observed import observed

each_dialect = pytest.mark.parametrize("name", DIALECTS)
SIGNALS = {f"{table}.{column.name}" for table, kind in KINDS.items() for column in fields(kind)}
MADE_OF = {
    "edge.latency_mean": {"edge.latency_sum", "edge.latency_count"},
    "backend.errors": {"backend.rate", "backend.success", "backend.pending"},
    "api.offered": {"api.completed", "api.limited"},
    "api.latency_p99": {"edge.latency_p99"},
    "service.server_latency": {"service.seconds", "service.completions"},
}
REVIEWS = "reviews.shop.svc.cluster.local"


@each_dialect
def test_every_signal_is_asked_for_or_its_absence_has_words(name: str) -> None:
    dialect = read_dialect(name)
    asked = {query.name for query in dialect.queries}
    for signal in SIGNALS:
        assert signal in asked or MADE_OF.get(signal, {signal}) <= asked or dialect.missing.get(signal), signal
    assert set(dialect.missing) <= SIGNALS


@each_dialect
def test_no_word_is_left_open_and_every_zero_names_a_query(name: str) -> None:
    dialect = read_dialect(name)
    asked = {query.name for query in dialect.queries}
    texts = [query.promql for query in dialect.queries]
    for text in (*texts, dialect.api_samples, dialect.edge_samples, dialect.history, dialect.found):
        assert set(re.findall(r"[$]\w*", text)) <= {"$range", "$slow", "$step2", "$seconds", "$1"}
    assert {query.zero for query in dialect.queries if query.zero} <= asked


def test_the_settings_take_every_dialect() -> None:
    for name in (*DIALECTS, "auto"):
        assert PrometheusSettings(dialect=name).dialect == name  # type: ignore[arg-type]


def edges_of(name: str, *rows: Labels, workloads: Sequence[Labels] = ()) -> list[tuple[str, str] | None]:
    names = names_of(read_dialect(name), rows, workloads)
    found = [names.edge(row) for row in rows]
    return [None if edge is None else (edge.caller, edge.callee) for edge in found]


def test_linkerd_finds_the_service_that_a_workload_is_behind() -> None:
    into = {"deployment": "ingress", "namespace": "edge", "parent_name": "front", "parent_namespace": "shop"}
    out = {"statefulset": "web-v2", "namespace": "shop", "parent_name": "reviews", "parent_namespace": "shop"}
    behind = {"dst_service": "front", "dst_namespace": "shop", "dst_statefulset": "web-v2"}
    assert edges_of("linkerd", into, out, workloads=[behind]) == [
        ("ingress.edge", "front.shop.svc.cluster.local"),
        ("front.shop.svc.cluster.local", REVIEWS),
    ]
    assert edges_of("linkerd", into, out)[1] == ("web-v2.shop", REVIEWS)


def test_linkerds_old_proxies_name_the_same_edge() -> None:
    new = {"deployment": "web", "namespace": "shop", "parent_name": "reviews", "parent_namespace": "shop"}
    old = {"deployment": "web", "namespace": "shop", "dst_service": "reviews", "dst_namespace": "shop"}
    assert edges_of("linkerd", new)[0] == edges_of("linkerd", old)[0] == ("web.shop", REVIEWS)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("reviews", REVIEWS),
        ("reviews.shop", REVIEWS),
        ("reviews.shop.svc", REVIEWS),
        (REVIEWS, REVIEWS),
        (f"{REVIEWS}.", REVIEWS),
        ("example.com", "example.com"),
        ("api.example.com", "api.example.com"),
        ("10.1.2.3", None),
        ("fd00::1", None),
    ],
)
def test_opentelemetry_takes_a_service_by_all_its_names(address: str, host: str | None) -> None:
    row = {"service_name": "web", "service_namespace": "shop", "server_address": address}
    (edge,) = edges_of("opentelemetry", row)
    assert edge == (None if host is None else ("web.shop", host))
    job = {"job": "shop/web", "server_address": address}
    assert edges_of("opentelemetry", job) == [edge]


def test_a_service_of_another_namespace_is_known_once_it_calls() -> None:
    row = {"service_name": "web", "service_namespace": "shop", "server_address": "bank.money"}
    bank = {"service_name": "bank", "service_namespace": "money", "server_address": "bank"}
    assert edges_of("opentelemetry", row) == [("web.shop", "bank.money")]
    assert edges_of("opentelemetry", row, bank)[0] == ("web.shop", "bank.money.svc.cluster.local")


@pytest.mark.parametrize(
    ("cluster", "callee"),
    [
        ("httproute/shop/route/rule/0", "httproute/shop/route/rule/0"),
        ("httproute/shop/route/rule/0/shop/reviews", REVIEWS),
        ("grpcroute/shop/route/rule/1/shop/reviews|shop/reviews-v2", REVIEWS),
        ("httproute/shop/route/rule/0/backend/1", "httproute/shop/route/rule/0"),
        ("httproute/shop/route/rule/0/backend/1/shop/reviews", REVIEWS),
        ("xds_cluster", None),
    ],
)
def test_envoy_gateways_clusters_tell_the_service_or_the_rule(cluster: str, callee: str | None) -> None:
    (edge,) = edges_of("envoy-gateway", {"envoy_cluster_name": cluster})
    assert edge == (None if callee is None else ("gateway", callee))


@pytest.fixture
def hubble() -> Iterator[FakePrometheus]:
    flow = {"source_workload": "web", "source_namespace": "shop"}
    flow |= {"destination_workload": "reviews", "destination_namespace": "shop"}
    rows: Mapping[str, Sequence[Row]] = {
        "edge.seen": [(flow, NOW)],
        "edge.count": [(flow, 6)],
        "edge.rate": [(flow, 40)],
    }
    with FakePrometheus("hubble", rows) as server:
        yield server


def observe(fake: FakePrometheus, dialect: str) -> MeshFrame:
    return observed(PrometheusOptions(fake.url, dialect=dialect))


def test_what_is_not_told_is_a_gap_that_says_why(hubble: FakePrometheus) -> None:
    frame = observe(hubble, "hubble")
    words = {gap.signal: gap.detail for gap in frame.gaps if gap.reason is GapReason.MISSING}
    assert words["edge.retries"] == "Hubble does not count retries"
    assert np.isnan(frame.edge.retries).all()
    assert frame.edge.errors[0] == 0  # seen, and none failed
    assert frame.trust["edge.retries"] == 0


def test_services_seen_at_layer_4_only_are_named_and_have_no_row(hubble: FakePrometheus) -> None:
    many = [({"destination_namespace": "shop", "destination_workload": f"raw-{i:03}"}, 1.0) for i in range(60)]
    hubble.rows["unseen"] = many
    frame = observe(hubble, "hubble")
    gaps = [gap for gap in frame.gaps if gap.signal == "edge"]
    assert gaps[0].subject == "shop raw-000"
    assert gaps[0].detail.startswith("only connections are seen (layer 4)")
    assert (len(gaps), gaps[-1].subject) == (51, "10 more")
    assert set(frame.index.services) == {"web.shop", REVIEWS}


def test_a_larger_mesh_asks_no_more(hubble: FakePrometheus) -> None:
    observe(hubble, "hubble")
    few = len(hubble.asked)
    for name in ("edge.seen", "edge.count", "edge.rate"):
        (labels, value) = hubble.rows[name][0]
        hubble.rows[name] = [({**labels, "destination_workload": f"s{i}"}, value) for i in range(500)]
    frame = observe(hubble, "hubble")
    assert len(frame.index.edges) == 500
    assert len(hubble.asked) == 2 * few


def test_auto_takes_the_mesh_before_what_its_applications_say(hubble: FakePrometheus) -> None:
    hubble.rows["found"] = hubble.rows["found opentelemetry"] = hubble.rows["found envoy"] = [({}, 3.0)]
    assert observe(hubble, "auto").index.edges == (f"web.shop|{REVIEWS}",)
    hubble.rows["found knative"] = [({}, 1.0)]
    with pytest.raises(SourceRefused, match=r"several meshes \(hubble, knative\)"):
        observe(hubble, "auto")


def test_auto_says_what_it_looked_for(hubble: FakePrometheus) -> None:
    with pytest.raises(SourceRefused, match=r"no series of any dialect \(istio, linkerd"):
        observe(hubble, "auto")
