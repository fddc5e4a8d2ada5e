"""Istio, read from its standard metrics and answered with patches for Git."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.adapters.fake_prometheus import FakePrometheus, Row

from .conftest import Call

PAGE, REVIEWS = "productpage.shop.svc.cluster.local", "reviews.shop.svc.cluster.local"
WEB = {"source_canonical_service": "istio-ingressgateway", "source_workload_namespace": "istio-system"}
WEB |= {"destination_service": PAGE}
CALL = {"source_canonical_service": "productpage", "source_workload_namespace": "shop"}
CALL |= {"destination_service": REVIEWS}


def seen(edge: Mapping[str, str], source: str, callee: str, at: float) -> Row:
    workload = {"destination_workload": f"{callee}-v1", "destination_workload_namespace": "shop"}
    return {**edge, "source_workload": source, "destination_canonical_service": callee, **workload}, at


@pytest.fixture
def istio() -> Iterator[FakePrometheus]:
    """A gateway, a page and its reviews; the proxies report in flight and retries."""
    now = time.time()
    rows: dict[str, list[Row]] = {
        "edge.seen": [
            seen(WEB, "istio-ingressgateway", "productpage", now - 1),
            seen(CALL, "productpage-v1", "reviews", now - 1),
        ],
        "edge.count": [(WEB, 6), (CALL, 6)],
        "edge.rate": [(WEB, 50), (CALL, 40)],
        "edge.errors": [(CALL, 1)],
        "edge.attempts#1": [(WEB, 50), (CALL, 44)],
        "edge.in_flight#1": [(WEB, 5), (CALL, 4)],
        "edge.latency_count": [(WEB, 1000), (CALL, 1000)],
        "edge.latency_sum": [(WEB, 50), (CALL, 40)],
        "edge.latency_p50": [(WEB, 0.04), (CALL, 0.03)],
        "edge.latency_p99": [(WEB, 0.4), (CALL, 0.2)],
        "edge.latency_p999": [(WEB, 0.6), (CALL, 0.3)],
    }
    with FakePrometheus("istio", rows) as server:
        server.now = now
        yield server


def test_advice_is_rendered_as_istios_objects(
    call: Call, istio: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["recommend", "--source-url", istio.url, "--window", "30"]
    assert call(*arguments, "--format", "json") == 1
    advised = [p for p in json.loads(capsys.readouterr().out)["proposals"] if p["advice"]]
    caps = {p["target"]: p["values"]["proposed"] for p in advised if p["knob"] == "in-flight-cap"}
    assert set(caps) == {f"edge/istio-ingressgateway.istio-system|{PAGE}", f"edge/{PAGE}|{REVIEWS}"}
    assert call(*arguments, "--format", "yaml") == 1
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    rules = {o["spec"]["host"]: o for o in objects if o["kind"] == "DestinationRule"}
    assert set(rules) == {PAGE, REVIEWS}
    assert all(o["apiVersion"].startswith("networking.istio.io/") for o in objects)
    pool = rules[REVIEWS]["spec"]["trafficPolicy"]["connectionPool"]["http"]
    assert pool["http2MaxRequests"] > 0


def test_nothing_is_written_and_no_ledger_is_made(call: Call, istio: FakePrometheus, tmp_path: Path) -> None:
    assert call("recommend", "--source-url", istio.url, "--format", "yaml") == 1
    assert list(tmp_path.iterdir()) == []
