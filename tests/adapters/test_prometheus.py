"""Frames from answers of Prometheus: rates, absences, resets, clocks; against a stand-in over real HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from governor.adapters.prometheus import PARTIAL_TRUST, PrometheusOptions, PrometheusSource
from governor.domain import Gap, GapReason, MeshFrame
from governor.errors import SourceRefused, SourceUnreachable

from .fake_prometheus import DB, NOW, STEP, WEB, FakePrometheus, Reply, cluster, routes, shop
from .observed import StandingClock, observed, reasons

WINDOW = 20.0


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    with FakePrometheus("envoy", shop()) as server:
        yield server


def observe(fake: FakePrometheus, window_s: float = WINDOW, ahead_s: float = 0.0) -> MeshFrame:
    return observed(PrometheusOptions(fake.url, dialect="envoy", timeout_s=5), window_s, ahead_s)


def test_a_frame_of_all_four_tables(fake: FakePrometheus) -> None:
    frame = observe(fake)
    assert frame.index.edges == (WEB, DB)
    assert frame.index.services == ("db", "ingress", "web")
    assert frame.index.apis == ("web.high", "web.low")
    assert [frame.index.edges[e] for e in frame.index.api_edge] == [WEB, WEB]
    assert (frame.at, frame.age_s, frame.window_s) == (NOW, 1.0, WINDOW)
    assert frame.edge.rate.tolist() == [100, 80]
    assert frame.edge.latency_mean.tolist() == pytest.approx([0.04, 0.02])
    assert frame.backend.errors.tolist() == [0, 7]
    assert frame.api.offered.tolist() == [100, 25]
    web = frame.index.services.index("web")
    assert frame.service.cpu_used[web] == 3.5
    assert frame.service.completions[web] == 100
    assert frame.service.server_latency[web] == pytest.approx(0.05)
    assert frame.trust_of("edge.rate", "edge.attempts", "backend.errors", "api.offered") == 1.0


def test_the_number_of_queries_does_not_grow_with_the_mesh(fake: FakePrometheus) -> None:
    observe(fake)
    few = len(fake.asked)
    names = [f"out|a{i}|b{i}" for i in range(300)]
    fake.rows["edge.seen"] = cluster(dict.fromkeys([WEB, *names], NOW))
    fake.rows["edge.rate"] = cluster(dict.fromkeys([WEB, *names], 1.0))
    fake.asked.clear()
    frame = observe(fake)
    assert len(frame.index.edges) == 301
    assert len(fake.asked) == few < 40
    assert {asked.method for asked in fake.asked} == {"POST"}


def test_all_queries_are_evaluated_at_the_time_of_the_first(fake: FakePrometheus) -> None:
    observe(fake)
    first, *rest = fake.asked
    assert "time" not in first.form
    assert {asked.form["time"] for asked in rest if asked.path.endswith("/query")} == {f"{NOW:.3f}"}
    assert not any("$range" in query or "$slow" in query for query in fake.queries)


def test_a_counter_that_never_moved_is_zero_and_a_gauge_that_is_absent_is_not(fake: FakePrometheus) -> None:
    fake.rows["edge.in_flight"] = cluster({WEB: 4})
    frame = observe(fake)
    assert frame.edge.errors.tolist() == [0, 3]
    assert frame.edge.overflow.tolist() == [0, 0]
    assert math.isnan(frame.edge.in_flight[1])
    assert reasons(frame, "edge.in_flight") == {DB: GapReason.MISSING}
    assert frame.trust["edge.in_flight"] == 0.5


@pytest.mark.parametrize("samples", [{WEB: 4}, {WEB: 4, DB: 1}])
def test_an_edge_without_two_samples_in_the_window_has_no_rates(
    fake: FakePrometheus, samples: dict[str, float]
) -> None:
    fake.rows["edge.count"] = cluster(samples)
    fake.rows["edge.rate"] = cluster({WEB: 100})
    frame = observe(fake)
    assert math.isnan(frame.edge.rate[1])
    assert math.isnan(frame.edge.overflow[1])
    assert frame.edge.overflow[0] == 0


def test_samples_that_cover_little_of_the_window_lower_trust(fake: FakePrometheus) -> None:
    fake.rows["edge.count"] = cluster({WEB: 4, DB: 2})
    frame = observe(fake)
    assert frame.edge.rate[1] == 80
    assert reasons(frame, "edge.rate") == {DB: GapReason.PARTIAL}
    assert frame.trust["edge.rate"] == 0.5


@pytest.mark.parametrize("value", ["+Inf", "-Inf", "NaN"])
def test_what_is_not_finite_is_a_gap(fake: FakePrometheus, value: str) -> None:
    fake.rows["edge.rate"] = cluster({WEB: value, DB: 80})
    fake.rows["edge.errors"] = cluster({WEB: value})
    frame = observe(fake)
    for signal, values in (("edge.rate", frame.edge.rate), ("edge.errors", frame.edge.errors)):
        assert math.isnan(values[0])
        assert reasons(frame, signal) == {WEB: GapReason.NOT_FINITE}


@pytest.mark.parametrize("age", [NOW - 60, NOW + 60])
def test_an_edge_without_a_fresh_sample_is_stale(fake: FakePrometheus, age: float) -> None:
    fake.rows["edge.seen"] = cluster({WEB: NOW - 1, DB: age})
    frame = observe(fake)
    assert reasons(frame, "edge.rate") == {DB: GapReason.STALE}
    assert reasons(frame, "backend.rate") == {"every backend": GapReason.STALE}
    assert math.isnan(frame.edge.rate[1])
    assert frame.edge.rate[0] == 100


def test_resets_are_marked_on_all_that_the_proxy_counts(fake: FakePrometheus) -> None:
    fake.rows["edge.resets"] = cluster({WEB: 0, DB: 2})
    fake.rows["service.resets"] = [({"workload": "web"}, 1)]
    frame = observe(fake)
    assert reasons(frame, "edge.rate") == {DB: GapReason.RESET}
    assert reasons(frame, "backend.rate") == {"every backend": GapReason.RESET}
    assert reasons(frame, "api.completed") == {}
    assert reasons(frame, "service.cpu_used")["web"] is GapReason.RESET
    assert GapReason.RESET not in reasons(frame, "service.cpu_limit").values()
    assert frame.edge.rate[1] == 80


def test_quantiles_need_enough_requests(fake: FakePrometheus) -> None:
    fake.rows["edge.latency_count"] = cluster({WEB: 2000, DB: 150})
    frame = observe(fake)
    assert frame.edge.latency_p99.tolist() == pytest.approx([0.2, 0.1])
    assert reasons(frame, "edge.latency_p999") == {DB: GapReason.TOO_FEW}
    assert frame.trust["edge.latency_p999"] == 1.0


def test_rows_with_the_same_labels_twice_count_once_and_are_said(fake: FakePrometheus) -> None:
    fake.rows["edge.rate"] = [*cluster({WEB: 100, DB: 80}), *cluster({WEB: 100})]
    frame = observe(fake)
    assert frame.edge.rate.tolist() == [100, 80]
    assert reasons(frame, "edge.rate") == {"1 rows": GapReason.PARTIAL}


def test_a_partial_answer_lowers_all_trust(fake: FakePrometheus) -> None:
    fake.extra = {"warnings": ["store-2 is down"]}
    frame = observe(fake)
    assert Gap("source", f"Prometheus at {fake.url}", GapReason.PARTIAL, "store-2 is down") in frame.gaps
    assert frame.trust["edge.rate"] == PARTIAL_TRUST
    assert frame.edge.rate[0] == 100


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_a_skewed_clock_is_said_and_moves_no_window(fake: FakePrometheus, ahead_s: float) -> None:
    frame = observe(fake, ahead_s=ahead_s)
    assert (frame.at, frame.age_s) == (NOW, 1.0)
    detail = next(gap.detail for gap in frame.gaps if gap.signal == "clock")
    assert f"3600 s {'behind' if ahead_s > 0 else 'ahead of'} ours" in detail
    assert not any(gap.signal == "clock" for gap in observe(fake).gaps)


def test_a_window_shorter_than_three_scrapes_is_widened_and_said(fake: FakePrometheus) -> None:
    fake.step = 15
    frame = observe(fake, window_s=20)
    assert frame.window_s == 45
    detail = next(gap.detail for gap in frame.gaps if gap.signal == "window")
    assert detail == "scrapes are 15 s apart: measured over 45 s, not 20 s"
    assert any("[45000ms]" in query for query in fake.queries)


def test_apis_whose_entry_cannot_be_known_are_gaps(fake: FakePrometheus) -> None:
    fake.rows["edge.seen"] = cluster({WEB: NOW, DB: NOW, "out|ingress|search": NOW})
    fake.rows["api.seen"] = [
        *routes({"web.high": NOW, "search.low": NOW, "other": NOW}),
        ({"envoy_virtual_host": "inner", "envoy_route": "web.high"}, NOW),
    ]
    frame = observe(fake)
    entries = {api: frame.index.edges[e] for api, e in zip(frame.index.apis, frame.index.api_edge, strict=True)}
    assert entries == {"ingress/web.high": WEB, "search.low": "out|ingress|search"}
    assert reasons(frame, "api") == {"other": GapReason.MISSING, "inner/web.high": GapReason.MISSING}


def test_samples_between_scrapes_are_what_the_cost_matrix_needs(fake: FakePrometheus) -> None:
    route = {"envoy_virtual_host": "ingress", "envoy_route": "web.high"}
    fake.samples["samples.api"] = [(route, lambda t: t - NOW + 100)]
    fake.samples["samples.edge"] = [
        ({"envoy_cluster_name": WEB}, lambda t: 2 * (t - NOW + 100)),
        ({"envoy_cluster_name": DB}, lambda t: None if t == NOW - STEP else 7.0),
    ]
    samples = observe(fake).samples
    assert samples is not None
    assert samples.step_s == STEP
    assert samples.api_admitted[:, 0].tolist()[-1] == 100
    assert samples.api_admitted[:, 1].tolist()[-1] == 0
    assert samples.service_arrivals[-1].tolist() == [7, 0, 200]
    assert np.isnan(samples.api_admitted[-2]).all()
    assert len(samples.api_admitted) == WINDOW / STEP


@pytest.mark.parametrize("step", [5, 20])
def test_no_samples_where_scrapes_are_rare_or_the_answer_is_empty(fake: FakePrometheus, step: int) -> None:
    fake.step = step
    assert observe(fake).samples is None


def test_no_edge_at_all_is_refused_with_the_dialect(fake: FakePrometheus) -> None:
    fake.rows["edge.seen"] = ()
    with pytest.raises(SourceRefused, match="knows no edge in the dialect envoy"):
        observe(fake)


def test_an_error_in_the_middle_of_a_cycle_ends_it(fake: FakePrometheus) -> None:
    fake.reply, fake.reply_to = Reply(422, b"too many samples"), "edge.latency_p99"
    with pytest.raises(SourceRefused, match="422"):
        observe(fake)


def test_a_source_that_is_gone_is_unreachable_and_comes_back(fake: FakePrometheus) -> None:
    source = PrometheusSource(PrometheusOptions(fake.url, dialect="envoy", timeout_s=1.0), StandingClock())
    first = source.observe(WINDOW)
    fake.reply = Reply(hang=True)
    with pytest.raises(SourceUnreachable, match="within 1 s"):
        source.observe(WINDOW)
    fake.reply = None
    assert source.observe(WINDOW).index is first.index
    source.close()
