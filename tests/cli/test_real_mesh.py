"""A real Envoy under load and real governor processes: what they write, and their end at the worst moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from governor.adapters.ledger import SqliteLedger
from governor.errors import LabError
from governor.lab.mesh import MeshLab

from .conftest import Call, Spawn, scenario

pytestmark = [pytest.mark.envoy, pytest.mark.usefixtures("real_envoy"), pytest.mark.timeout(120)]
POLICY = """
apiVersion: governor/v1alpha1
kind: GovernorPolicy
metadata: {name: caps-only}
spec:
  knobs: {in-flight-cap: {mode: enforce}}
"""
KILLED = """
import os, signal, sys
from governor import cli
from governor.record import Recorder
Recorder.receipt = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # Envoy has the write, the ledger not yet
sys.argv = ["governor", *sys.argv[1:]]
cli.main()
"""

# Room in the file that SQLite appends to for one intent and not for its receipt.
FULL = """
import resource, sys
from governor import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (32_800, 32_800))
sys.argv = ["governor", *sys.argv[1:]]
cli.main()
"""


class Mesh:
    """A lab under load, and settings that enforce in it."""

    def __init__(self, lab: MeshLab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        self.pause = directory / "pause"
        self.config = directory / "governor.yaml"
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        settings = {
            "mode": "enforce",
            "period_s": 1,
            "window_s": 2,
            "policies": [str(policy)],
            "pause_file": str(self.pause),
            "source": {"kind": "envoy", "envoy": {"admin_urls": [lab.admin_url]}},
            "plane": {"kind": "envoy", "directory": str(lab.directory), "admin_url": lab.admin_url},
            "health": {"enabled": False},
            "log": {"level": "debug"},
        }
        self.config.write_text(json.dumps(settings))

    @property
    def arguments(self) -> list[str]:
        return ["run", "--config", str(self.config)]

    def run(self, script: str, *more: str) -> subprocess.CompletedProcess[bytes]:
        """A governor that `script` starts; waits for its end."""
        command = [sys.executable, "-c", script, *self.arguments, *more]
        return subprocess.run(command, cwd=self.directory, capture_output=True, timeout=60, check=False)

    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.directory / "governor-ledger.sqlite")

    def open_intents(self) -> int:
        ledger = self.ledger()
        try:
            ledger.verify()
            return len(ledger.open_intents())
        finally:
            ledger.close()

    def layer(self) -> dict[str, float]:
        """What rtds.json holds."""
        return dict(self._document["resources"][0]["layer"])

    @property
    def version(self) -> str:
        """What rtds.json calls itself: another one after each write."""
        return str(self._document.get("version_info"))

    @property
    def _document(self) -> dict[str, Any]:
        return dict(json.loads((self.lab.directory / "rtds.json").read_text()))

    def in_force(self) -> set[str]:
        """Circuit breakers of Envoy's runtime."""
        with requests.Session() as session:
            session.trust_env = False
            entries = session.get(f"{self.lab.admin_url}/runtime", timeout=5).json()["entries"]
        return {name for name in entries if name.startswith("circuit_breakers.")}


@pytest.fixture
def mesh(tmp_path: Path, address: str) -> Iterator[Mesh]:
    with MeshLab(scenario(seconds=100, low=60), tmp_path / "lab", address) as lab:
        stopped: list[str] = []

        def drive() -> None:
            try:
                lab.run()
            except LabError as error:
                stopped.append(str(error))

        load = threading.Thread(target=drive)
        load.start()
        yield Mesh(lab, tmp_path)
        lab.stop()
        load.join()
    assert stopped == ["the lab was stopped while its load was running"]


def test_kill_9_between_write_and_record_is_undone_at_the_next_start(mesh: Mesh, spawn: Spawn) -> None:
    before = mesh.layer()
    killed = mesh.run(KILLED)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert mesh.layer() != before
    assert mesh.in_force()
    assert mesh.open_intents() == 1

    mesh.pause.touch()  # so that what is seen is the recovery and no new decision
    governor = spawn(*mesh.arguments, "--cycles", "1")
    assert governor.process.wait(30) == 0, governor.errors.read_text()
    assert "has no receipt" in governor.errors.read_text()
    assert mesh.layer() == before
    assert mesh.in_force() == set()
    assert mesh.open_intents() == 0
    ledger = mesh.ledger()
    assert ledger.entries(kind="verdict")[0].code == "GOV305"
    ledger.close()


def test_on_a_full_disk_a_write_that_cannot_be_recorded_is_taken_back(mesh: Mesh, spawn: Spawn) -> None:
    before, version = mesh.layer(), mesh.version
    mesh.ledger().close()
    full = mesh.run(FULL, "--cycles", "1")
    assert full.returncode == 2, full.stderr
    assert b"governor-ledger.sqlite: cannot" in full.stderr
    assert b"Traceback" not in full.stderr
    assert mesh.version != version
    assert mesh.layer() == before
    assert mesh.in_force() == set()
    assert mesh.open_intents() == 1

    mesh.pause.touch()
    governor = spawn(*mesh.arguments, "--cycles", "1")
    assert governor.process.wait(30) == 0, governor.errors.read_text()
    assert mesh.layer() == before
    assert mesh.open_intents() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_cycle_finishes_it_and_exits_0(
    mesh: Mesh, spawn: Spawn, number: signal.Signals
) -> None:
    governor = spawn(*mesh.arguments)
    # The first cycle waits for a full window: the signal comes within it.
    governor.until(lambda: '"event": "cycle begins"' in governor.errors.read_text())
    assert governor.end(number) == 0
    lines = [json.loads(line)["event"] for line in governor.errors.read_text().splitlines()]
    assert lines[-2:] == ["cycle", "stopped"]
    ledger = mesh.ledger()
    assert len(ledger.entries(kind="cycle")) == 1
    assert ledger.open_intents() == []
    ledger.close()


def test_what_was_written_is_listed_explained_and_undone(
    mesh: Mesh, spawn: Spawn, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mesh.layer()
    governor = spawn(*mesh.arguments, "--cycles", "1")
    assert governor.process.wait(30) == 0, governor.errors.read_text()
    assert mesh.layer() != before
    config = ["--config", str(mesh.config)]
    assert call("history", *config, "--kind", "receipt") == 0
    assert "GOV102" in capsys.readouterr().out
    ledger = mesh.ledger()
    (receipt,) = ledger.entries(kind="receipt")
    ledger.close()
    assert call("explain", receipt.id, *config) == 0
    out = capsys.readouterr().out
    assert "before: default not set, high not set" in out
    assert "hypothesis: " in out
    assert call("undo", receipt.id, *config) == 0
    assert "Undone by hand" in capsys.readouterr().out
    assert mesh.layer() == before
    assert mesh.in_force() == set()
    assert call("undo", "no-such-id", *config) == 2
    assert "the ledger holds no such decision" in capsys.readouterr().err
