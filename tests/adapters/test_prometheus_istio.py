"""Istio's standard metrics as edges, backends, APIs and services; against a stand-in over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from governor.adapters.prometheus import PrometheusOptions
from governor.domain import GapReason, MeshFrame

from .fake_prometheus import NOW, FakePrometheus, Row
from .observed import observed, reasons

PAGE, REVIEWS = "productpage.shop.svc.cluster.local", "reviews.shop.svc.cluster.local"
GATEWAY = "istio-ingressgateway.istio-system"
INTO_PAGE, INTO_REVIEWS = f"{GATEWAY}|{PAGE}", f"{PAGE}|{REVIEWS}"
WEB = {"source_canonical_service": "istio-ingressgateway", "source_workload_namespace": "istio-system"}
WEB |= {"destination_service": PAGE}
CALL = {"source_canonical_service": "productpage", "source_workload_namespace": "shop"}
CALL |= {"destination_service": REVIEWS}


def seen(edge: Mapping[str, str], source: str, callee: str, workload: str) -> Row:
    rest = {"destination_canonical_service": callee, "destination_workload": workload}
    return {**edge, "source_workload": source, **rest, "destination_workload_namespace": "shop"}, NOW - 2


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    nobody = {**WEB, "destination_service": "unknown"}
    rows = {
        "edge.seen": [
            seen(WEB, "istio-ingressgateway", "productpage", "productpage-v1"),
            seen(CALL, "productpage-v1", "reviews", "reviews-v1"),
            seen(CALL, "productpage-v1", "reviews", "reviews-v2"),
            seen(nobody, "istio-ingressgateway", "unknown", "unknown"),
        ],
        "edge.count": [(WEB, 6), (CALL, 6)],
        "edge.rate": [(WEB, 50), (CALL, 40), (nobody, 9)],
        "edge.attempts#1": [(WEB, 50), (CALL, 44)],
        "edge.attempts#2": [(WEB, 1), (CALL, 1)],
        "edge.overflow": [(CALL, 2)],
        "edge.in_flight#1": [(WEB, 5)],
        "backend.seen": [({**CALL, "destination_version": v}, NOW) for v in ("v1", "v2", "unknown")],
        "backend.rate": [({**CALL, "destination_version": v}, r) for v, r in (("v1", 30), ("v2", 10))],
        "backend.errors": [({**CALL, "destination_version": "v2"}, 1)],
        "api.offered": [(WEB, 60)],
        "api.completed": [(WEB, 50)],
        "api.limited": [(WEB, 10)],
        "edge.latency_count": [(WEB, 1000), (CALL, 1000)],
        "edge.latency_p99": [(WEB, 0.4), (CALL, 0.2)],
        "service.cpu_used": [
            ({"namespace": "shop", "workload": "reviews-v1"}, 1.5),
            ({"namespace": "shop", "workload": "reviews-v2"}, 0.5),
            ({"namespace": "other", "workload": "reviews-v1"}, 9),
        ],
        "service.completions": [({"destination_service": REVIEWS}, 44)],
    }
    with FakePrometheus("istio", rows) as server:
        yield server


def observe(fake: FakePrometheus) -> MeshFrame:
    return observed(PrometheusOptions(fake.url))


def test_a_caller_is_named_by_the_host_that_leads_to_it(fake: FakePrometheus) -> None:
    frame = observe(fake)
    assert set(frame.index.services) == {GATEWAY, PAGE, REVIEWS}
    assert dict(zip(frame.index.edges, frame.edge.rate.tolist(), strict=True)) == {
        INTO_PAGE: 50,
        INTO_REVIEWS: 40,
    }


def test_an_api_is_what_a_gateway_leads_to(fake: FakePrometheus) -> None:
    frame = observe(fake)
    assert frame.index.apis == (PAGE,)
    assert frame.index.edges[frame.index.api_edge[0]] == INTO_PAGE
    assert (frame.api.offered[0], frame.api.completed[0], frame.api.limited[0]) == (60, 50, 10)
    assert frame.api.errors[0] == 0
    assert frame.api.latency_p99[0] == pytest.approx(0.4)


def test_backends_are_versions_and_workloads_are_summed_to_their_service(fake: FakePrometheus) -> None:
    frame = observe(fake)
    assert frame.index.backends == ("v1", "v2")
    assert frame.backend.rate.tolist() == [30, 10]
    assert frame.backend.errors.tolist() == [0, 1]
    reviews = frame.index.services.index(REVIEWS)
    assert frame.service.cpu_used[reviews] == 2
    assert frame.service.completions[reviews] == 44


def test_retries_are_unknown_where_the_proxies_do_not_count_them(fake: FakePrometheus) -> None:
    frame = observe(fake)
    assert reasons(frame, "edge.retries") == {"every edge": GapReason.MISSING}
    assert frame.trust["edge.retries"] == 0
    at = frame.index.edges.index(INTO_REVIEWS)
    assert frame.edge.attempts[at] == 44  # the callee's own count before the guess without retries
    assert frame.trust["edge.attempts"] == 1
    assert frame.edge.overflow.sum() == 2


def test_the_proxies_own_counters_come_first_where_they_are(fake: FakePrometheus) -> None:
    proxy = {"envoy_cluster_name": f"outbound|9080||{REVIEWS}", "namespace": "shop", "workload": "productpage-v1"}
    fake.rows["edge.proxy"] = [(proxy, NOW)]
    fake.rows["edge.attempts"] = [(proxy, 47)]
    frame = observe(fake)
    at = frame.index.edges.index(INTO_REVIEWS)
    assert frame.edge.attempts[at] == 47
    assert frame.edge.retries[at] == 0
    assert frame.edge.timeouts[at] == 0
    assert reasons(frame, "edge.retries") == {INTO_PAGE: GapReason.MISSING}


def test_attempts_without_retries_are_an_estimate(fake: FakePrometheus) -> None:
    del fake.rows["edge.attempts#1"]
    frame = observe(fake)
    assert frame.edge.attempts.tolist() == [1, 1]
    assert reasons(frame, "edge.attempts") == {"every edge": GapReason.PARTIAL}
    assert frame.trust["edge.attempts"] == 0
