"""The ledger on disk: durable, append-only, and clear about what is wrong."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from governor.adapters.ledger import SqliteLedger
from governor.adapters.memory import MemoryControlPlane
from governor.cycle import Ports, recover
from governor.errors import LedgerError
from governor.knobs import InFlightCap, Knob, Target, TargetKind
from governor.ports import Entry

BODY = {"before": {"default": 40, "high": 50}, "after": {"default": 20, "high": 25}}


def entry(name: str, kind: str, at: float = 1.0) -> Entry:
    return Entry(name, at, 1, kind, "edge/a", "in-flight-cap", "GOV103", "text", BODY)


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "deep" / "ledger.db")
    ledger.append([entry("a", "intent"), entry("b", "intent", 2.0)])
    ledger.append([entry("a", "receipt", 3.0)])
    ledger.close()
    again = SqliteLedger(tmp_path / "deep" / "ledger.db")
    assert again.find("a") == [entry("a", "intent"), entry("a", "receipt", 3.0)]
    assert [e.at for e in again.entries(since=2.0)] == [3.0, 2.0]
    assert again.open_intents() == [entry("b", "intent", 2.0)]
    assert again.verify() == 3
    again.close()


def test_lines_can_be_neither_changed_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    ledger.append([entry("a", "intent"), entry("b", "intent")])
    other = sqlite3.connect(path)
    for statement in ("UPDATE entry SET summary = 'x'", "DELETE FROM entry"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.rollback()
    other.execute("DROP TRIGGER entry_unchanged")
    other.execute("UPDATE entry SET summary = 'x' WHERE id = 'a'")
    other.commit()
    other.close()
    with pytest.raises(LedgerError, match="line 1 was changed"):
        ledger.verify()
    ledger.close()


def test_a_locked_ledger_takes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governor.adapters.ledger.WAIT_S", 0.05)
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked by another process"):
        ledger.append([entry("a", "intent")])
    other.execute("ROLLBACK")
    other.close()
    assert not ledger.entries()
    ledger.close()


def test_garbage_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    garbage = b"this is no database" * 100
    path.write_bytes(garbage)
    with pytest.raises(LedgerError, match="not a ledger, or damaged"):
        SqliteLedger(path)
    assert path.read_bytes() == garbage


def test_a_write_without_receipt_is_undone_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    script = f"""
from pathlib import Path
from governor.adapters.ledger import SqliteLedger
from governor.ports import Entry
ledger = SqliteLedger(Path({str(path)!r}))
ledger.append([Entry("a", 1.0, 1, "intent", "edge/a", "in-flight-cap", "GOV103", "text", {BODY!r})])
print("written", flush=True)
input()
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"written\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    child.stdin.close()
    ledger, plane = SqliteLedger(path), MemoryControlPlane()
    notes = recover(Ports(None, plane, ledger, Fixed()))  # type: ignore[arg-type]
    target = Target(TargetKind.EDGE, "a")
    assert plane.written == {(target, Knob.IN_FLIGHT_CAP): InFlightCap(40, 50)}
    assert "has no receipt" in notes[0]
    assert not ledger.open_intents()
    assert ledger.verify() == 3
    ledger.close()


class Fixed:
    def now(self) -> float:
        return 5.0
