"""`governor check`: what a new user is told about their Prometheus, their Envoy, and what lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from governor.lab.envoy_process import start_envoy
from governor.lab.mesh import MeshLab
from governor.lab.processes import Nursery
from tests.adapters.fake_prometheus import FakePrometheus

from .conftest import Call, scenario

BARE = """
admin: {address: {socket_address: {address: ADDRESS, port_value: 19720}}}
static_resources:
  clusters:
  - name: web.shop
    type: STATIC
    load_assignment: {cluster_name: web.shop, endpoints: []}
"""


def test_a_prometheus_with_all_signals_enables_all_knobs(
    call: Call, fake: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("check", "--source-url", fake.url, "--dialect", "envoy") == 0
    out = capsys.readouterr().out
    assert "The source answers: 3 services, 2 edges, 2 backends, 2 APIs." in out
    for knob in ("rate-limit", "weights", "timeout", "retries"):
        assert f"{knob} " in out
    assert " no " not in out.split("would help")[1].split("Not told")[0]


def test_what_lacks_and_the_knobs_that_it_costs_are_named(
    call: Call, fake: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in fake.rows if name.startswith("backend.") or "p999" in name]:
        del fake.rows[name]
    assert call("check", "--source-url", fake.url, "--dialect", "envoy") == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "no" in lines["weights"].split()
    assert "backend.rate" in lines["weights"]
    assert "edge.latency_p999" in lines["timeout"]
    assert "yes" in lines["in-flight-cap"].split()


def test_why_a_signal_is_not_told_is_said_with_the_dialect(
    call: Call, fake: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in fake.rows if name.startswith("backend.")]:
        del fake.rows[name]
    fake.rows["backend.seen"] = [
        ({"envoy_cluster_name": "out|web|db", "envoy_endpoint_address": "10.0.0.1:80"}, 1.0)
    ]
    fake.rows["found envoy"] = fake.rows["found"] = [({}, 1.0)]
    assert call("check", "--source-url", fake.url, "--dialect", "auto") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "Metric names: envoy." in out
    assert "endpoints are counted only with track_cluster_stats.per_endpoint_stats" in out


@pytest.mark.envoy
@pytest.mark.usefixtures("real_envoy")
def test_an_envoy_that_is_ready_and_its_signals(
    call: Call, tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with MeshLab(scenario(seconds=3, low=20), tmp_path / "lab", address) as lab:
        assert call("check", "--plane", "envoy", "--envoy-admin", lab.admin_url) == 0
        assert "in-flight-cap, retries (budget), connection-limits: ready" in capsys.readouterr().out
        # Something else at that address: the services' own metrics.
        assert call("check", "--plane", "envoy", "--envoy-admin", lab.metrics_url.removesuffix("/metrics")) == 2
        assert "is this Envoy's admin address?" in capsys.readouterr().err


@pytest.mark.envoy
@pytest.mark.usefixtures("real_envoy")
def test_a_bare_envoy_gets_the_snippets(
    call: Call, tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap = tmp_path / "bare.yaml"
    bootstrap.write_text(BARE.replace("ADDRESS", address))
    nursery = Nursery()
    try:
        start_envoy(nursery, bootstrap, address, 19720)
        assert call("check", "--plane", "envoy", "--envoy-admin", f"http://{address}:19720") == 1
    finally:
        nursery.close()
    out = capsys.readouterr().out
    assert "no runtime layer comes by RTDS" in out
    assert "    layered_runtime:\n      layers:\n      - name: governor\n" in out
