"""A real Prometheus that scrapes a real Envoy and services under load, and the frame that comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from governor.adapters.prometheus import PrometheusOptions, PrometheusSource
from governor.adapters.prometheus_client import PrometheusClient
from governor.adapters.prometheus_queries import DIALECTS, Windows, read_dialect
from governor.domain import GapReason, MeshFrame
from governor.errors import SourceError, SourceRefused
from governor.lab.document_files import parse_scenario
from governor.lab.mesh import MeshLab
from governor.lab.results import LoadResult
from tests.one_service import one_service

from .real_prometheus import Prometheus

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(90)]
RATE = {"shop.high": 60.0, "shop.low": 120.0}
DURATION = 14
SMALL = one_service(
    "small",
    DURATION,
    *(f"[[{DURATION}, {rate:g}]]" for rate in RATE.values()),
    service_time_s=0.02,
    latency_s=0.5,
    timeout_s=2.0,
)
WINDOW_S = 6.0


@pytest.fixture
def empty(prometheus_binary: str, tmp_path: Path) -> Iterator[Prometheus]:
    server = Prometheus(prometheus_binary, tmp_path / "prometheus", [])
    yield server
    server.stop()


@pytest.mark.parametrize("name", DIALECTS)
def test_every_query_of_a_dialect_is_valid_promql(empty: Prometheus, name: str) -> None:
    client = PrometheusClient(PrometheusOptions(empty.url))
    dialect, windows = read_dialect(name), Windows(15, 20, 5)
    for query in dialect.queries:
        assert client.query(windows.fill(query.promql)) == []
    for promql in (dialect.api_samples, dialect.edge_samples, dialect.history):
        assert client.query_range(windows.fill(promql), 0, 60, 5) == []
    for promql in (dialect.found, dialect.unseen.promql if dialect.unseen else "vector(1) < 0"):
        assert client.query(promql) == []
    assert client.query(dialect.probe_of({"envoy_cluster_name": 'a "quote"\\ and\na line'})) == []
    with pytest.raises(SourceRefused, match=r"answers 400 \(.*parse error"):
        client.query("sum(")
    client.close()


@pytest.mark.envoy
@pytest.mark.usefixtures("real_envoy")
def test_a_real_mesh_is_seen_as_its_load_generator_knows_it(
    prometheus_binary: str, tmp_path: Path, address: str
) -> None:
    scenario = parse_scenario(SMALL, Path("small.yaml"))
    results: list[LoadResult] = []
    with MeshLab(scenario, tmp_path / "lab", address) as lab:
        server = Prometheus(prometheus_binary, tmp_path / "prometheus", lab.scrape_targets)
        source = PrometheusSource(PrometheusOptions(server.url, dialect="envoy"))
        load = threading.Thread(target=lambda: results.append(lab.run()))
        load.start()
        try:
            frame = _settled(source)
            history = source.history_s()
        finally:
            source.close()
            load.join()
            server.stop()
    (result,) = results
    assert sum(int(counts.sum()) for counts in result.ok.values()) > 0.9 * DURATION * sum(RATE.values())
    total = sum(RATE.values())
    assert frame.index.edges == ("out|ingress|web",)
    assert frame.edge.rate[0] == pytest.approx(total, rel=0.2)
    assert frame.edge.attempts[0] == pytest.approx(total, rel=0.2)
    assert frame.edge.errors[0] == frame.edge.overflow[0] == frame.edge.retries[0] == 0
    assert 0.015 < frame.edge.latency_mean[0] < 0.2
    assert 0.005 < frame.edge.latency_p50[0] <= frame.edge.latency_p99[0] <= 0.5
    offered = dict(zip(frame.index.apis, frame.api.offered.tolist(), strict=True))
    assert offered == pytest.approx(RATE, rel=0.2)
    assert frame.api.limited.tolist() == [0, 0]
    assert frame.backend.rate.sum() == pytest.approx(total, rel=0.2)
    web = frame.index.services.index("web")
    assert frame.service.cpu_used[web] == pytest.approx(total * 0.02, rel=0.4)
    assert (frame.service.cpu_limit[web], frame.service.replicas[web]) == (16, 2)
    assert frame.service.completions[web] == pytest.approx(total, rel=0.2)
    assert frame.trust_of("edge.rate", "edge.attempts", "backend.errors", "api.offered") == 1.0
    assert frame.age_s < 3
    assert history >= 0
    missing = {gap.subject for gap in frame.gaps if gap.reason is GapReason.MISSING}
    assert missing == {"ingress"}  # clients have no CPU that anybody reports
    samples = frame.samples
    assert samples is not None
    assert samples.step_s == 1
    assert np.nanmean(samples.service_arrivals[:, web]) == pytest.approx(total, rel=0.25)


def _settled(source: PrometheusSource) -> MeshFrame:
    """The first frame whose window is full of scrapes under load and holds enough requests for a p99."""
    deadline = time.monotonic() + DURATION
    while True:
        try:
            frame = source.observe(WINDOW_S)
            if np.isfinite(frame.edge.latency_p99).all() and (frame.edge.rate > 0.9 * sum(RATE.values())).all():
                return frame
        except SourceError:
            pass  # not scraped twice yet
        assert time.monotonic() < deadline, "no full window while the load ran"
        time.sleep(0.25)
