"""Every knob written and seen in effect on a real Envoy; what it refuses or does not answer is taken back."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
import requests

from governor.adapters.envoy_files import EnvoyFilesControlPlane
from governor.errors import WriteRejected, WriteUnconfirmed
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.lab.documents import Scenario
from governor.lab.faults import replica_actions
from governor.lab.mesh import MeshLab

pytestmark = [pytest.mark.envoy, pytest.mark.usefixtures("real_envoy")]
NAME = "out|ingress|web"
EDGE = Target(TargetKind.EDGE, NAME)
LOW = Target(TargetKind.API, "shop.low")
OPEN = InFlightCap(None, None)


class Mesh:
    """The lab, its control plane and clients."""

    def __init__(self, lab: MeshLab) -> None:
        self.lab = lab
        self.plane = EnvoyFilesControlPlane(lab.directory, lab.admin_url)
        self.address = f"http://{lab.address}:{lab.layout.edge('ingress', 'web').port}/shop"
        self.backends = [f"{lab.address}:{port}" for port in lab.layout.replica_ports["web"]]

    def answers(self, number: int = 1, *, high: bool = False, at_once: int = 1) -> list[int]:
        """Status codes of `number` requests, `at_once` of them together."""
        headers = {"x-priority": "high"} if high else {}
        together = threading.Barrier(at_once)

        def ask(_: int) -> int:
            with requests.Session() as session:
                session.trust_env = False
                together.wait()
                return session.get(self.address, headers=headers, timeout=10).status_code

        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(ask, range(number)))

    def stat(self, name: str) -> int:
        with requests.Session() as session:
            session.trust_env = False
            page = session.get(f"{self.lab.admin_url}/stats", timeout=5).text
        return int(dict(line.split(": ", 1) for line in page.splitlines())[f"cluster.{NAME}.{name}"])

    def file(self, name: str) -> bytes:
        return (self.lab.directory / name).read_bytes()


@pytest.fixture(scope="module")
def mesh(
    tmp_path_factory: pytest.TempPathFactory, scenario: Scenario, address: str, real_envoy: Path
) -> Iterator[Mesh]:
    del real_envoy
    with MeshLab(scenario, tmp_path_factory.mktemp("lab"), address) as lab:
        yield Mesh(lab)


@pytest.fixture(autouse=True)
def as_it_was(mesh: Mesh) -> Iterator[None]:
    """Each test leaves the files as it found them, moved into place so that Envoy sees it."""
    files = {path: path.read_bytes() for path in mesh.lab.directory.rglob("*.json")}
    yield
    for path, content in files.items():
        if path.read_bytes() != content:
            temporary = path.with_suffix(".before")
            temporary.write_bytes(content)
            temporary.replace(path)


def test_a_cap_refuses_its_own_priority_only(mesh: Mesh) -> None:
    receipt = mesh.plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(0, 8))
    assert (receipt.before, receipt.after) == (OPEN, InFlightCap(0, 8))
    assert json.loads(mesh.file("rtds.json"))["version_info"] == receipt.version
    assert mesh.answers() == [503]
    assert mesh.answers(high=True) == [200]
    assert mesh.plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(0, 8)).version == "unchanged"
    mesh.plane.write(EDGE, Knob.IN_FLIGHT_CAP, OPEN)
    assert mesh.answers() == [200]


def test_a_rate_limit_answers_429_and_an_unchanged_one_refills_no_bucket(mesh: Mesh) -> None:
    for _ in range(2):
        mesh.plane.write(LOW, Knob.RATE_LIMIT, RateLimit(0.02))
        found = mesh.answers(2)
    assert found == [429, 429]  # the one token went in the first round
    assert mesh.answers(high=True) == [200]
    mesh.plane.write(LOW, Knob.RATE_LIMIT, RateLimit(None))
    assert mesh.answers(3) == [200] * 3


def test_weights_shift_traffic(mesh: Mesh) -> None:
    first, second = mesh.backends
    mesh.plane.write(EDGE, Knob.WEIGHTS, BackendWeights(((first, 0.0), (second, 1.0))))
    counts = [f"endpoint.{name.replace(':', '_')}.rq_total" for name in (first, second)]
    before = [mesh.stat(name) for name in counts]
    mesh.answers(30)
    light, heavy = (mesh.stat(name) - was for name, was in zip(counts, before, strict=True))
    assert heavy >= 29
    assert light <= 1


def test_retries_stop_by_budget_and_by_count(mesh: Mesh) -> None:
    def retries() -> int:
        before = mesh.stat("upstream_rq_retry")
        assert set(mesh.answers(4)) == {500}
        return mesh.stat("upstream_rq_retry") - before

    _fail(mesh)
    try:
        assert retries() == 8
        mesh.plane.write(EDGE, Knob.RETRIES, RetryPolicy(2, 0.0))
        assert retries() == 0
        mesh.plane.write(EDGE, Knob.RETRIES, RetryPolicy(1, 0.1))
        assert retries() == 4
        mesh.plane.write(EDGE, Knob.RETRIES, RetryPolicy(0, None))
        assert retries() == 0
        mesh.plane.write(EDGE, Knob.RETRIES, RetryPolicy(2, None))
        assert retries() == 8
    finally:
        _fail(mesh, seconds_ago=3600)


def test_a_timeout_ends_what_takes_longer(mesh: Mesh) -> None:
    mesh.plane.write(EDGE, Knob.TIMEOUT, Timeout(0.001, None))
    assert 504 in mesh.answers(10)
    mesh.plane.write(EDGE, Knob.TIMEOUT, Timeout(2.0, None))
    assert mesh.answers(10) == [200] * 10


def test_connection_limits_refuse_who_would_wait(mesh: Mesh) -> None:
    mesh.plane.write(EDGE, Knob.CONNECTION_LIMITS, ConnectionLimits(1, 0))
    before = mesh.stat("upstream_rq_pending_overflow")
    assert 503 in mesh.answers(16, at_once=8)
    assert mesh.stat("upstream_rq_pending_overflow") > before
    mesh.plane.write(EDGE, Knob.CONNECTION_LIMITS, ConnectionLimits(None, None))
    assert mesh.answers(16, at_once=8) == [200] * 16


def test_a_value_that_envoy_cannot_parse_is_taken_back(mesh: Mesh) -> None:
    name = "rds/out__ingress__web.json"
    before = mesh.file(name)
    with pytest.raises(WriteRejected, match=r"refused .*web\.json: .*update_failure rose.*back in force"):
        mesh.plane.write(EDGE, Knob.TIMEOUT, Timeout(1e13, None))  # longer than a duration can be
    assert mesh.file(name) == before
    assert mesh.answers() == [200]


def test_a_file_that_envoy_finds_invalid_is_put_back(mesh: Mesh) -> None:
    path = mesh.lab.directory / "eds" / "out__ingress__web.json"
    document = json.loads(path.read_text())
    document["resources"][0]["policy"] = {"overprovisioning_factor": 0}  # below Envoy's minimum
    path.write_text(json.dumps(document))  # in place: Envoy does not look
    before = path.read_bytes()
    first, second = mesh.backends
    with pytest.raises(WriteRejected, match=r"update_rejected rose.*Envoy's log.*back in place"):
        mesh.plane.write(EDGE, Knob.WEIGHTS, BackendWeights(((first, 0.1), (second, 0.9))))
    assert path.read_bytes() == before
    assert mesh.answers() == [200]


def test_a_key_that_a_later_layer_holds_is_not_called_written(mesh: Mesh) -> None:
    before = mesh.file("rtds.json")
    key = f"circuit_breakers.{NAME}.default.max_requests"
    with requests.Session() as session:
        session.trust_env = False
        session.post(f"{mesh.lab.admin_url}/runtime_modify", params={key: "700"}, timeout=5)
        try:
            with pytest.raises(WriteUnconfirmed, match=r"reads '700' and not 5.*back in force"):
                mesh.plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(5, None))
        finally:
            session.post(f"{mesh.lab.admin_url}/runtime_modify", params={key: ""}, timeout=5)
    assert mesh.file("rtds.json") == before


def test_an_envoy_that_reads_other_files_confirms_nothing(mesh: Mesh, tmp_path: Path) -> None:
    for name in ("rtds.json", "cds.json"):
        shutil.copy(mesh.lab.directory / name, tmp_path)
    plane = EnvoyFilesControlPlane(tmp_path, mesh.lab.admin_url, confirm_s=0.2)
    before = (tmp_path / "rtds.json").read_bytes()
    with pytest.raises(WriteUnconfirmed, match=r"no new version within 0\.2 s; the old file is back in place"):
        plane.write(EDGE, Knob.IN_FLIGHT_CAP, InFlightCap(5, 5))
    assert (tmp_path / "rtds.json").read_bytes() == before


def test_a_file_that_envoy_does_not_subscribe_to_is_not_written(mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "ecds").mkdir()
    text = mesh.file("ecds/limit.shop.low.json").decode().replace("shop.low", "shop.mid")
    path = tmp_path / "ecds" / "limit.shop.mid.json"
    path.write_text(text)
    plane = EnvoyFilesControlPlane(tmp_path, mesh.lab.admin_url)
    with pytest.raises(WriteUnconfirmed, match=r"no ECDS subscription to 'limit\.shop\.mid'.*governor check"):
        plane.write(Target(TargetKind.API, "shop.mid"), Knob.RATE_LIMIT, RateLimit(5))
    assert path.read_text() == text


def _fail(mesh: Mesh, seconds_ago: float = 0.0) -> None:
    """Let the scenario's faults begin now, or have been over long ago."""
    actions = [asdict(action) for action in replica_actions(mesh.lab.scenario.faults)]
    said = {"start": time.monotonic() - seconds_ago, "actions": actions}
    with requests.Session() as session:
        session.trust_env = False
        session.post(mesh.lab.metrics_url.replace("/metrics", "/faults"), json=said, timeout=5).raise_for_status()
