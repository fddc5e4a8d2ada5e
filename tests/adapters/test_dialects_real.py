"""One contract for all dialects: a real Prometheus scrapes a page of each mesh, the frame tells its traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from governor.adapters.prometheus import PrometheusOptions, PrometheusSource
from governor.domain import GapReason, MeshFrame
from governor.errors import SourceError, SourceRefused
from governor.explain.readiness import readiness

from .mesh_page import ERRORS, INTO_WEB, MEAN_S, RATE, MeshPage
from .mesh_pages import PAGES
from .real_prometheus import Prometheus

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(90)]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "dialects.md"
WINDOW_S = 6.0
TOGETHER = ("istio, sidecars", "linkerd", "opentelemetry")
"""Pages that one Prometheus scrapes at once."""
MESHES: dict[str, MeshPage] = {name: make() for name, make in PAGES.items()}
START = time.time() - 1000.0
FULL_S = 14.0
"""So long after the last Prometheus has come up all windows are full: it may take 6 s to its first scrape."""


def path_of(name: str) -> str:
    return "/" + name.replace(", ", "/").replace(" ", "-")


BY_PATH = {path_of(name): page for name, page in MESHES.items()}


class _Pages(BaseHTTPRequestHandler):
    """Each mesh's page at its own path."""

    def do_GET(self) -> None:
        body = BY_PATH[self.path].text(START, time.time()).encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def servers(prometheus_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of one Prometheus for each page, and of one for several; all started before any is asked."""
    pages = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=pages.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    target = f"127.0.0.1:{pages.server_address[1]}"
    folder = tmp_path_factory.mktemp("dialects")

    def job(name: str) -> dict[str, object]:
        times = {"scrape_interval": "1s", "scrape_timeout": "1s", "honor_labels": True}
        return {
            "job_name": name,
            "metrics_path": path_of(name),
            "static_configs": [{"targets": [target]}],
            **times,
        }

    with ExitStack() as stack:
        stack.callback(thread.join)
        stack.callback(pages.server_close)
        stack.callback(pages.shutdown)
        urls = {}
        for name, jobs in {**{name: (name,) for name in MESHES}, "together": TOGETHER}.items():
            server = Prometheus(
                prometheus_binary, folder / path_of(name).replace("/", "-"), [job(each) for each in jobs]
            )
            stack.callback(server.stop)
            urls[name] = server.url
        time.sleep(FULL_S)
        yield urls


@pytest.fixture(scope="module")
def frames(servers: dict[str, str]) -> Callable[[str], MeshFrame]:
    """The settled frame of each mesh, made once; its dialect is found by looking."""
    made: dict[str, MeshFrame] = {}

    def frame(name: str) -> MeshFrame:
        if name not in made:
            source = PrometheusSource(PrometheusOptions(servers[name], dialect="auto"))
            try:
                made[name] = settled(source)
                assert source.dialect == MESHES[name].dialect
            finally:
                source.close()
        return made[name]

    return frame


def settled(source: PrometheusSource) -> MeshFrame:
    """The first frame that is trusted: a scrape may come late."""
    deadline = time.monotonic() + 20
    while True:
        try:
            frame = source.observe(WINDOW_S)
            if frame.trust_of("edge.in_flight") == 1.0:
                return frame
        except SourceError:
            pass  # not scraped twice yet
        assert time.monotonic() < deadline, "no window full of scrapes"
        time.sleep(0.5)


each_mesh = pytest.mark.parametrize("name", list(PAGES))


def edge(frame: MeshFrame, name: str) -> int:
    page = MESHES[name]
    return frame.index.edge_position[f"{page.caller}|{page.callee}" if name != "envoy" else "out|web|reviews"]


@each_mesh
def test_edges_are_named_by_the_hosts_that_control_planes_know(
    frames: Callable[[str], MeshFrame], name: str
) -> None:
    page, index = MESHES[name], frames(name).index
    ends = [
        (index.services[caller], index.services[callee])
        for caller, callee in zip(index.edge_caller, index.edge_callee, strict=True)
    ]
    assert sorted(ends) == sorted([(page.gateway, page.entry), (page.caller, page.callee)])
    apis = {page.entry, page.callee} if page.caller == page.gateway else {page.entry}
    assert set(index.apis) == apis


@each_mesh
def test_rates_errors_and_retries_are_those_of_the_traffic(frames: Callable[[str], MeshFrame], name: str) -> None:
    frame, page = frames(name), MESHES[name]
    at = edge(frame, name)
    assert frame.edge.rate[at] == pytest.approx(RATE, rel=0.1)
    assert frame.edge.rate[1 - at] == pytest.approx(INTO_WEB, rel=0.1)
    assert frame.edge.errors[at] == pytest.approx(ERRORS, rel=0.1)
    assert frame.edge.errors[1 - at] == 0
    if page.retries is None:
        assert np.isnan(frame.edge.retries).all()
    else:
        assert frame.edge.retries[at] == pytest.approx(page.retries, rel=0.1)


@each_mesh
def test_latencies_are_right_to_a_bucket_and_in_seconds(frames: Callable[[str], MeshFrame], name: str) -> None:
    frame, page = frames(name), MESHES[name]
    at = edge(frame, name)
    assert frame.edge.latency_mean[at] == pytest.approx(MEAN_S, rel=0.05)
    for quantile, values in ((0.5, frame.edge.latency_p50), (0.99, frame.edge.latency_p99)):
        low, high = page.bucket_s(quantile)
        assert low <= values[at] <= high


@each_mesh
def test_backends_take_their_shares(frames: Callable[[str], MeshFrame], name: str) -> None:
    frame, page = frames(name), MESHES[name]
    at = edge(frame, name)
    rates = {
        backend: float(frame.backend.rate[i])
        for i, backend in enumerate(frame.index.backends)
        if frame.index.backend_edge[i] == at
    }
    assert rates == pytest.approx(dict(page.backends or {}), rel=0.1)


@each_mesh
def test_an_api_offers_what_the_gateway_sends(frames: Callable[[str], MeshFrame], name: str) -> None:
    frame, page = frames(name), MESHES[name]
    at = frame.index.api_position[page.entry]
    for values, told in ((frame.api.completed, page.completed), (frame.api.limited, page.limited)):
        assert values[at] == pytest.approx(np.nan if told is None else told, rel=0.1, nan_ok=True)


@each_mesh
def test_what_a_mesh_does_not_tell_is_a_gap_with_words_and_never_a_number(
    frames: Callable[[str], MeshFrame], name: str
) -> None:
    frame, page = frames(name), MESHES[name]
    silent = [gap for gap in frame.gaps if gap.reason is GapReason.MISSING]
    for table, column in (
        ("edge", "retries"),
        ("edge", "overflow"),
        ("backend", "rate"),
        ("service", "cpu_limit"),
    ):
        values = getattr(getattr(frame, table), column)
        if len(values) and np.isnan(values).all():
            words = {gap.detail for gap in silent if gap.signal == f"{table}.{column}"}
            assert words - {""} == words != set(), f"{table}.{column} is silent without a word"
    unseen = {gap.subject for gap in silent if gap.signal == "edge" and gap.detail}
    assert unseen == ({page.unseen} if page.unseen else set())
    assert not {page.unseen} & set(frame.index.services)


@each_mesh
def test_the_page_about_dialects_says_which_knobs_have_their_signals(
    frames: Callable[[str], MeshFrame], name: str
) -> None:
    first, _, rest = name.partition(", ")
    title = f"`{first}` ({rest})" if rest else f"`{name}`"
    (row,) = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| {title} |")]
    ready = {one.knob.value for one in readiness(frames(name)) if one.ready}
    assert set(row.rstrip("| ").rpartition("| ")[2].split(", ")) == ready


@each_mesh
def test_the_past_is_known_by_the_same_names(servers: dict[str, str], name: str) -> None:
    source = PrometheusSource(PrometheusOptions(servers[name], dialect=MESHES[name].dialect))
    try:
        settled(source)
        names, history = source.history(4, 2)
    finally:
        source.close()
    assert {MESHES[name].entry, MESHES[name].callee} <= set(names)
    assert np.isfinite(history.values).any()


def test_several_meshes_at_once_are_for_the_user_to_choose_from(servers: dict[str, str]) -> None:
    source = PrometheusSource(PrometheusOptions(servers["together"], dialect="auto"))
    try:
        with pytest.raises(SourceRefused, match=r"several meshes \(istio, linkerd\).*dialect: istio"):
            source.observe(WINDOW_S)
    finally:
        source.close()


def test_a_prometheus_without_any_mesh_is_refused(prometheus_binary: str, tmp_path: Path) -> None:
    server = Prometheus(prometheus_binary, tmp_path / "empty", [])
    source = PrometheusSource(PrometheusOptions(server.url, dialect="auto"))
    try:
        with pytest.raises(SourceRefused, match=r"no series of any dialect \(istio, linkerd"):
            source.observe(WINDOW_S)
    finally:
        source.close()
        server.stop()
