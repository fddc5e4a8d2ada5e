"""The check of a bootstrap against real Envoys: one that has all, one with nothing, one made from the docs."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from textwrap import indent

import pytest
import yaml

from governor.adapters import envoy_check
from governor.adapters.envoy_check import check_envoy
from governor.adapters.envoy_files import EnvoyFilesControlPlane
from governor.errors import SourceRefused, SourceUnreachable
from governor.knobs import InFlightCap, Knob, RateLimit, RetryPolicy, Target, TargetKind
from governor.lab.documents import Scenario
from governor.lab.envoy_process import start_envoy
from governor.lab.mesh import MeshLab
from governor.lab.processes import Nursery

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "envoy.md").read_text()
SNIPPETS = [name for name in vars(envoy_check) if name.endswith("_SNIPPET")]
BARE = """
admin: {address: {socket_address: {address: ADDRESS, port_value: PORT}}}
static_resources:
  clusters:
  - name: web.shop
    type: STATIC
    load_assignment: {cluster_name: web.shop, endpoints: []}
"""


def from_docs(directory: Path, address: str, port: int) -> Path:
    """The page's bootstrap and files, at addresses of this test."""
    for name, text in re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    text = block.replace("/etc/envoy/xds", str(directory)).replace("127.0.0.1", address)
    bootstrap = directory / "bootstrap.yaml"
    bootstrap.write_text(text.replace("port_value: 9901", f"port_value: {port}").replace("8080", str(port + 1)))
    return bootstrap


@contextmanager
def envoy(bootstrap: Path, address: str, port: int) -> Iterator[str]:
    nursery = Nursery()
    try:
        start_envoy(nursery, bootstrap, address, port)
        yield f"http://{address}:{port}"
    finally:
        nursery.close()


@pytest.mark.envoy
def test_the_labs_envoy_has_all(scenario: Scenario, tmp_path: Path, address: str, real_envoy: Path) -> None:
    del real_envoy
    with MeshLab(scenario, tmp_path, address, 19400) as lab:
        report = check_envoy(lab.admin_url)
    assert report.complete
    for line in (
        "in-flight-cap, retries (budget), connection-limits: ready",
        "weights: ready",
        "rate-limit: ready",
    ):
        assert line in report.text
    assert "outlier-detection: never written" in report.text


@pytest.mark.envoy
def test_a_bare_envoy_is_told_what_lacks(tmp_path: Path, address: str, real_envoy: Path) -> None:
    del real_envoy
    bootstrap = tmp_path / "bare.yaml"
    bootstrap.write_text(BARE.replace("ADDRESS", address).replace("PORT", "19700"))
    with envoy(bootstrap, address, 19700) as admin:
        report = check_envoy(admin)
    assert not report.complete
    assert "no runtime layer comes by RTDS" in report.text
    assert "cluster web.shop does not take its endpoints by EDS" in report.text
    assert "no route has a stat_prefix" in report.text
    assert "the tag envoy.route cuts names at their first dot" in report.text
    for name in SNIPPETS:
        assert indent(getattr(envoy_check, name).rstrip(), "    ") in report.text
    assert "[" not in report.text  # a console would take it for markup


@pytest.mark.envoy
def test_the_page_works_as_it_stands(tmp_path: Path, address: str, real_envoy: Path) -> None:
    bootstrap = from_docs(tmp_path, address, 19750)
    command = [str(real_envoy), "--mode", "validate", "-c", str(bootstrap)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert answer.returncode == 0, answer.stderr
    with envoy(bootstrap, address, 19750) as admin:
        report = check_envoy(admin)
        assert report.complete, report.text
        plane = EnvoyFilesControlPlane(tmp_path, admin)
        edge = Target(TargetKind.EDGE, "out|ingress|web")
        for target, knob, value in (
            (edge, Knob.IN_FLIGHT_CAP, InFlightCap(16, 60)),
            (edge, Knob.RETRIES, RetryPolicy(1, 0.1)),
            (Target(TargetKind.API, "shop.low"), Knob.RATE_LIMIT, RateLimit(50.0)),
        ):
            assert plane.write(target, knob, value).after == value


@pytest.mark.parametrize("name", SNIPPETS)
def test_every_snippet_stands_in_the_page(name: str) -> None:
    snippet = getattr(envoy_check, name)
    yaml.safe_load(snippet)
    assert any(indent(snippet, " " * depth) in PAGE for depth in range(0, 14, 2))


def test_no_envoy_and_something_else_are_told_apart() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnreachable, match="no Envoy answers at"):
            check_envoy(f"http://127.0.0.1:{closed.getsockname()[1]}")

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}" if self.path == "/server_info" else b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(SourceRefused, match="is this Envoy's admin address"):
                check_envoy(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
