"""A stand-in for Prometheus: a real HTTP server on 127.0.0.1 that answers as told and notes what was asked."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from governor.adapters.prometheus_queries import DIALECTS, read_dialect

NOW = 1_700_000_000.0
STEP = 5
Row = tuple[Mapping[str, str], float | str]
WEB, DB = "out|ingress|web", "out|web|db"


def cluster(values: Mapping[str, float | str]) -> Sequence[Row]:
    return [({"envoy_cluster_name": name}, value) for name, value in values.items()]


def routes(values: Mapping[str, float | str]) -> Sequence[Row]:
    return [({"envoy_virtual_host": "ingress", "envoy_route": name}, value) for name, value in values.items()]


def endpoint(address: str, value: float) -> Row:
    return {"envoy_cluster_name": DB, "envoy_endpoint_address": address}, value


def shop(now: float = NOW) -> dict[str, Sequence[Row]]:
    """Two edges, two backends, two APIs of which one was never let in; 100 requests/s."""
    return {
        "edge.seen": [*cluster({WEB: now - 1, DB: now - 2, "xds_cluster": now - 1})],
        "edge.count": cluster({WEB: 4, DB: 4}),
        "edge.resets": cluster({WEB: 0, DB: 0}),
        "edge.rate": cluster({WEB: 100, DB: 80}),
        "edge.errors": cluster({DB: 3}),
        "edge.attempts": cluster({WEB: 100, DB: 90}),
        "edge.retries": cluster({DB: 10}),
        "edge.in_flight": cluster({WEB: 4, DB: 2}),
        "edge.latency_count": cluster({WEB: 2000, DB: 150}),
        "edge.latency_sum": cluster({WEB: 80, DB: 3}),
        "edge.latency_p50": cluster({WEB: 0.03, DB: 0.01}),
        "edge.latency_p99": cluster({WEB: 0.2, DB: 0.1}),
        "edge.latency_p999": cluster({WEB: 0.3, DB: 0.15}),
        "backend.seen": [endpoint("10.0.0.1:80", now - 2), endpoint("10.0.0.2:80", now - 2)],
        "backend.rate": [endpoint("10.0.0.1:80", 50), endpoint("10.0.0.2:80", 40)],
        "backend.success": [endpoint("10.0.0.1:80", 50), endpoint("10.0.0.2:80", 32)],
        "backend.pending": [endpoint("10.0.0.1:80", 0.5), endpoint("10.0.0.2:80", 1)],
        "backend.in_flight": [endpoint("10.0.0.1:80", 1), endpoint("10.0.0.2:80", 1.5)],
        "api.seen": [
            *routes({"web.high": now - 1}),
            ({"envoy_local_http_ratelimit_prefix": "limit.web.low"}, now - 1),
        ],
        "api.completed": routes({"web.high": 100}),
        "api.limited": [({"envoy_local_http_ratelimit_prefix": "limit.web.low"}, 25)],
        "api.latency_count": routes({"web.high": 2000}),
        "api.latency_p99": routes({"web.high": 0.25}),
        "service.cpu_used": [({"namespace": "shop", "workload": "web"}, 3.5)],
        "service.cpu_limit": [({"namespace": "shop", "workload": "web"}, 8)],
        "service.replicas": [({"namespace": "shop", "workload": "web"}, 2)],
        "service.completions": [({"service": "web"}, 60), ({"service": "web", "service_name": "web"}, 40)],
        "service.seconds": [({"service": "web"}, 5)],
    }


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    address_query: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


@dataclass
class Reply:
    """What is sent instead of an answer; `cut` leaves out that many bytes at the end."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    hang: bool = False


class FakePrometheus:
    """Answers the queries of one dialect from `rows`, by the query's name (`edge.rate`); others are empty.

    `unseen` and `found` are the dialect's own, `found <dialect>` that of another.

    Over TLS where it is given a context.
    """

    def __init__(
        self, dialect: str, rows: Mapping[str, Sequence[Row]], tls: ssl.SSLContext | None = None
    ) -> None:
        self.rows: dict[str, Sequence[Row]] = dict(rows)
        self.now = NOW
        self.step = STEP
        self.samples: dict[str, list[tuple[Mapping[str, str], Callable[[float], float | None]]]] = {}
        self.extra: dict[str, Any] = {}
        self.reply: Reply | None = None
        self.reply_to: str | None = None
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self.connections: set[socket.socket] = set()
        table = read_dialect(dialect)
        self._names: dict[str, str] = {}
        for query in table.queries:
            key = _normal(query.promql)
            count = sum(name.partition("#")[0] == query.name for name in self._names.values())
            self._names[key] = query.name if count == 0 else f"{query.name}#{count}"
        if table.unseen is not None:
            self._names[_normal(table.unseen.promql)] = "unseen"
        for name in DIALECTS:
            own = "found" if name == dialect else f"found {name}"
            self._names[_normal(read_dialect(name).found)] = own
        self._samples = {_normal(table.api_samples): "samples.api", _normal(table.edge_samples): "samples.edge"}
        self._history = _normal(table.history)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.fake = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def queries(self) -> list[str]:
        return [asked.form.get("query", "") for asked in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        for connection in tuple(self.connections):  # an exception that is still held keeps its connection
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def name_of(self, query: str) -> str:
        return self._names.get(_normal(query), "probe" if query.endswith("s]") else "?")

    def answer(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        name = self.name_of(form["query"])
        if path.endswith("/query_range"):
            key = _normal(form["query"])
            name = "history" if key == self._history else self._samples.get(key, "?")
            kind, result = "matrix", self._matrix(name, form)
        elif name == "probe":
            times = [self.now - 1 - self.step * k for k in range(40, -1, -1)]
            kind, result = "matrix", [{"metric": {}, "values": [[t, "2"] for t in times]}]
        elif form["query"] == "vector(1)":
            kind, result = "vector", [{"metric": {}, "value": [self.now, "1"]}]
        else:
            at = float(form.get("time", self.now))
            kind = "vector"
            rows = [({}, 1.0)] if form["query"] == "vector(1)" else self.rows.get(name, ())
            result = [{"metric": dict(m), "value": [at, str(v)]} for m, v in rows]
        return {"status": "success", "data": {"resultType": kind, "result": result}, **self.extra}

    def _matrix(self, name: str, form: Mapping[str, str]) -> list[dict[str, Any]]:
        start, end, step = (float(form[key]) for key in ("start", "end", "step"))
        grid = [start + k * step for k in range(int((end - start) / step + 1e-9) + 1)]
        found = []
        for labels, value_at in self.samples.get(name, []):
            pairs = [[t, str(v)] for t in grid if (v := value_at(t)) is not None]
            found.append({"metric": dict(labels), "values": pairs})
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    fake: FakePrometheus


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    wbufsize = 65536  # head and body in one packet
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections.add(self.connection)

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        fake = self.server.fake
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        form = {k: v[0] for k, v in parse_qs(body or parts.query).items()}
        fake.asked.append(Asked(self.command, parts.path, parts.query, dict(self.headers), form))
        if fake.reply is not None and fake.reply_to in {None, fake.name_of(form.get("query", ""))}:
            self._send(fake.reply)
        else:
            self._send(Reply(200, json.dumps(fake.answer(parts.path, form)).encode()))

    def _send(self, reply: Reply) -> None:
        if reply.hang:
            self.server.fake.released.wait(10)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) - reply.cut])
        if reply.cut:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


def _normal(query: str) -> str:
    """Without the lengths, which depend on the window."""
    return re.sub(r"/ (\$seconds|[\d.]+)$", "", re.sub(r"\[[^\]|.]+\]", "[]", query)).strip()
