"""Weeks of request rates: in pieces, on one grid, complete or an error; at last from a real Prometheus."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from governor.adapters import prometheus_history
from governor.adapters.prometheus import PrometheusOptions, PrometheusSource
from governor.adapters.prometheus_history import MOST_STEPS, Span
from governor.adapters.prometheus_names import names_of
from governor.adapters.prometheus_queries import read_dialect
from governor.errors import SourceRefused, SourceUnreachable
from tests.adapters.fake_prometheus import NOW, FakePrometheus, Reply
from tests.adapters.test_prometheus_real import Prometheus

STEP = 300
END = int(NOW // STEP) * STEP
DAY = 86_400


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    with FakePrometheus("envoy", {}) as server:
        yield server


@pytest.fixture
def source(fake: FakePrometheus) -> Iterator[PrometheusSource]:
    made = PrometheusSource(PrometheusOptions(fake.url, dialect="envoy"))
    yield made
    made.close()


def cluster(
    name: str, value: Callable[[float], float | None]
) -> tuple[dict[str, str], Callable[[float], float | None]]:
    return {"envoy_cluster_name": name}, value


def ranges(fake: FakePrometheus) -> list[tuple[int, int]]:
    return [
        (int(float(a.form["start"])), int(float(a.form["end"])))
        for a in fake.asked
        if a.path.endswith("query_range")
    ]


def test_edges_into_one_service_add_up_on_one_grid_that_ends_on_a_whole_step(
    fake: FakePrometheus, source: PrometheusSource
) -> None:
    fake.samples["history"] = [
        cluster("out|ingress|web", lambda at: at - END),
        cluster("out|admin|web", lambda at: 10.0 if at > END - 3 * STEP else None),
        cluster("out|web|db", lambda at: math.nan if at == END else 7.0),
        cluster("xds_cluster", lambda _: 99.0),
    ]
    names, history = source.history(5 * STEP, STEP)
    assert names == ("db", "web")
    assert (history.end_at, history.step_s, history.values.dtype) == (END, STEP, np.float32)
    assert history.values[0].tolist()[:4] == [7.0] * 4
    assert np.isnan(history.values[0, 4])
    # What is below zero is no rate.
    assert history.values[1].tolist()[2:] == [10.0, 10.0, 10.0]


def test_pieces_join_without_a_seam_and_none_is_larger_than_allowed(
    fake: FakePrometheus, source: PrometheusSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_history, "POINTS", 30)
    fake.samples["history"] = [
        cluster(f"out|a|s{i}", lambda at, i=i: at - (END - 10 * DAY) + i) for i in range(3)
    ]
    fake.rows["edge.rate"] = [({"envoy_cluster_name": f"out|a|s{i}"}, 1.0) for i in range(3)]
    heard: list[tuple[int, int]] = []
    names, history = source.history(101 * STEP, STEP, lambda done, of: heard.append((done, of)))
    at = END - STEP * np.arange(101)[::-1]
    assert names == ("s0", "s1", "s2")
    for row in range(3):
        np.testing.assert_array_equal(history.values[row], (at - (END - 10 * DAY) + row).astype(np.float32))
    asked = sorted(ranges(fake))
    assert len(asked) == 11
    assert all((end - start) // STEP + 1 <= 10 for start, end in asked)
    assert all(later[0] - earlier[1] == STEP for earlier, later in pairwise(asked))
    assert heard[-1] == (101, 101)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_no_query_asks_for_more_steps_than_prometheus_gives(
    fake: FakePrometheus, source: PrometheusSource
) -> None:
    fake.samples["history"] = [cluster("out|a|b", lambda at: 1.0 if at == END else None)]
    source.history((MOST_STEPS + 5) * 60, 60)
    assert max((end - start) // 60 + 1 for start, end in ranges(fake)) == MOST_STEPS


def test_a_service_that_is_gone_is_there_with_the_time_that_it_was(
    fake: FakePrometheus, source: PrometheusSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_history, "POINTS", 4)
    fake.samples["history"] = [
        cluster("out|a|old", lambda at: 5.0 if at <= END - 6 * STEP else None),
        cluster("out|a|web", lambda _: 1.0),
    ]
    names, history = source.history(8 * STEP, STEP)
    assert names == ("old", "web")
    assert np.isfinite(history.values).sum(axis=1).tolist() == [2, 8]


def test_nothing_at_all_is_an_error_that_says_what_to_look_at(source: PrometheusSource) -> None:
    with pytest.raises(
        SourceRefused, match=r"knows no request into any service in the last 24 h in the dialect envoy"
    ):
        source.history(DAY, STEP)


def test_an_answer_that_breaks_off_is_an_error_and_not_a_gap(
    fake: FakePrometheus, source: PrometheusSource
) -> None:
    fake.samples["history"] = [cluster("out|a|b", lambda _: 1.0)]
    fake.reply, fake.reply_to = Reply(422, b'{"status":"error","error":"too many samples"}'), "edge.rate"
    with pytest.raises(SourceRefused, match=r"too many samples.*--query\.max-samples"):
        source.history(DAY, STEP)


def test_no_prometheus_is_an_error_with_its_address() -> None:
    source = PrometheusSource(PrometheusOptions("http://127.0.0.1:1", dialect="envoy"))
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
        source.history(DAY, STEP)
    source.close()


def test_a_span_is_of_whole_steps_since_the_epoch() -> None:
    assert Span.until(1_000.0, 900.0, 300) == Span(900, 300, 3)
    assert Span.until(1_000.0, 1.0, 300).steps == 1


def test_istio_names_a_service_by_its_host_and_nobody_is_none() -> None:
    istio, envoy = names_of(read_dialect("istio"), ()), names_of(read_dialect("envoy"), ())
    assert istio.callee({"destination_service": "web.shop.svc.cluster.local"}) == "web.shop.svc.cluster.local"
    for nobody in ("", "unknown", "PassthroughCluster"):
        assert istio.callee({"destination_service": nobody}) is None
    assert envoy.callee({"envoy_cluster_name": "prometheus_stats"}) is None


def openmetrics(until: int, days: int, rate_of: dict[str, float]) -> Iterator[str]:
    """A counter for each edge, a sample a minute, in the order of series."""
    yield "# TYPE envoy_cluster_upstream_rq_completed counter\n"
    for edge, rate in rate_of.items():
        count = 0.0
        for at in range(until - days * DAY, until + 1, 60):
            yield f'envoy_cluster_upstream_rq_completed_total{{envoy_cluster_name="{edge}"}} {count:g} {at}\n'
            count += 60 * (rate if (at // 43_200) % 2 else rate / 2)
    yield "# EOF\n"


@pytest.mark.prometheus
@pytest.mark.timeout(120)
def test_two_weeks_of_a_real_prometheus_come_back_as_they_went_in(
    absent: Callable[[str], NoReturn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary, tool = shutil.which("prometheus"), shutil.which("promtool")
    if binary is None or tool is None:
        absent("no `prometheus` and `promtool` on the PATH (Debian: apt install prometheus)")
    import time

    now = int(time.time()) // 300 * 300
    text = "".join(openmetrics(now, 14, {"out|ingress|web": 100.0, "out|admin|web": 20.0, "out|web|db": 80.0}))
    # Envoy's own name has no _total, which OpenMetrics asks of a counter.
    text = text.replace("_completed counter", "_completed gauge").replace("_completed_total", "_completed")
    (tmp_path / "text").write_text(text)
    (tmp_path / "prometheus").mkdir()
    subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "text", tmp_path / "blocks"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "prometheus").rmdir()
    monkeypatch.setattr(prometheus_history, "POINTS", 3000)
    server = Prometheus(binary, tmp_path / "prometheus", [], tmp_path / "blocks")
    source = PrometheusSource(PrometheusOptions(server.url, dialect="envoy"))
    try:
        names, history = source.history(14 * DAY, STEP)
    finally:
        source.close()
        server.stop()
    assert names == ("db", "web")
    assert history.values.shape == (2, 14 * 288)
    ends = (history.end_at - STEP * np.arange(14 * 288)[::-1]).astype(int)
    # Steps within one half day: `rate` is right there but for the sample at the very start.
    inside = ((ends - 360) // 43_200 == ends // 43_200) & (ends <= now)
    half = np.where((ends // 43_200) % 2, 1.0, 0.5)
    known = inside & np.isfinite(history.values).all(axis=0)
    assert known.sum() > 0.95 * 14 * 288
    np.testing.assert_allclose(history.values[0][known], 80.0 * half[known], rtol=0.01)
    np.testing.assert_allclose(history.values[1][known], 120.0 * half[known], rtol=0.01)
