"""Memory and time of a whole `governor train --source prometheus --since 14d` over a large mesh.

The Prometheus is a stand-in on 127.0.0.1 in a process of its own: it answers range queries with daily waves, so
that the memory measured is that of the reader and the job alone. Baseline: the history, four bytes a value.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import parse_qs

from governor.adapters.prometheus import PrometheusOptions, PrometheusSource
from governor.train.job import Job, train
from governor.train.prometheus import series_of
from tests.benchmarks.table import Row, finish

DAYS = 14
STEP_S = 300
TARGET_MIB = 1024.0
NOW = 1_700_000_100


def main(services: int, json_path: Path | None) -> int:
    """Run it once and print the table; 1 if the job took more memory than the target."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(services, there), daemon=True)
    server.start()
    source = PrometheusSource(PrometheusOptions(f"http://127.0.0.1:{here.recv()}", dialect="envoy", timeout_s=60))
    try:
        before = _peak_mib()
        start = time.perf_counter()
        names, history = source.history(DAYS * 86_400.0, STEP_S)
        read_s, read_mib = time.perf_counter() - start, _peak_mib()
        assert history.values.shape == (services, DAYS * 288)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            outcome = train(series_of(names, history), Path(out), Job(), lambda _step, _done, _of: None)
        job_s = time.perf_counter() - start
    finally:
        source.close()
        server.terminate()
        server.join()
    rows = [
        Row("baseline: the program before it reads", (before,), "MiB"),
        Row("baseline: the history itself", (history.values.nbytes / 2**20,), "MiB"),
        Row("peak after reading", (read_mib,), "MiB"),
        Row("peak of the whole job", (_peak_mib(),), "MiB", TARGET_MIB, at_least=False),
        Row("reading, the stand-in's answering included", (read_s,), "s", note="a stand-in in Python answers"),
        Row("fit, calibration, export, contest, promotion", (job_s,), "s", note=f"promoted: {outcome.promoted}"),
    ]
    return finish(f"Training: {services:,} services, {DAYS} days at {STEP_S // 60} minutes", rows, json_path)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def serve(services: int, ready: Connection) -> None:
    """Answer queries of `services` services until the process is ended; sends its port first."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self.path.endswith("/query_range"):
                start, end, step = (int(float(form[key][0])) for key in ("start", "end", "step"))
                body = _matrix(services, range(start, end + 1, step))
            elif form["query"] == ["vector(1)"]:
                body = _vector([f'{{"metric":{{}},"value":[{NOW},"1"]}}'])
            else:
                body = _vector([f'{{"metric":{_labels(i)},"value":[{NOW},"1"]}}' for i in range(services)])
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send(server.server_address[1])
    server.serve_forever()


def _labels(service: int) -> str:
    return json.dumps({"envoy_cluster_name": f"out|ingress|service-{service:05d}"})


def _vector(rows: list[str]) -> bytes:
    return f'{{"status":"success","data":{{"resultType":"vector","result":[{",".join(rows)}]}}}}'.encode()


def _matrix(services: int, moments: range) -> bytes:
    rows = []
    for service in range(services):
        phase, size = service % 24, 1 + service % 97
        values = ",".join(
            f'[{at},"{size * (1.5 + math.sin(at / 13_751 + phase) + 0.1 * math.sin(at * (service + 1.7))):.5g}"]'
            for at in moments
        )
        rows.append(f'{{"metric":{_labels(service)},"values":[{values}]}}')
    return f'{{"status":"success","data":{{"resultType":"matrix","result":[{",".join(rows)}]}}}}'.encode()
