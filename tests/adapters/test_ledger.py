"""The ledger on disk: durable, append-only, and clear about what is wrong."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.ledger import SqliteLedger
from governor.adapters.memory import MemoryControlPlane, MemoryLedger
from governor.errors import LedgerError
from governor.knobs import InFlightCap, Knob, Target, TargetKind
from governor.ports import Entry, Ledger
from governor.recovery import recover
from governor.turn import Ports

BODY = {"before": {"default": 40, "high": 50}, "after": {"default": 20, "high": 25}}
EDGE_A = Target(TargetKind.EDGE, "a")


def entry(name: str, kind: str, at: float = 1.0, body: Any = BODY) -> Entry:
    return Entry(name, at, 1, kind, "edge/a", "in-flight-cap", "GOV103", "text", body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(path)
    yield made
    made.close()


@pytest.fixture(params=["disk", "memory"])
def any_ledger(request: pytest.FixtureRequest) -> Ledger:
    return request.getfixturevalue("ledger") if request.param == "disk" else MemoryLedger()  # type: ignore[no-any-return]


def test_entries_are_listed_newest_first_and_found_oldest_first(any_ledger: Ledger) -> None:
    any_ledger.append([entry("a", "intent"), entry("b", "intent", 2.0)])
    any_ledger.append([entry("a", "receipt", 3.0), entry("c", "note", 2.5)])
    assert [e.id for e in any_ledger.entries()] == ["c", "a", "b", "a"]
    assert [e.at for e in any_ledger.entries(since=2.0, limit=2)] == [2.5, 3.0]
    assert [e.id for e in any_ledger.entries(kind="intent", since=2.0)] == ["b"]
    assert any_ledger.entries(limit=0) == any_ledger.entries(limit=-1) == []
    assert any_ledger.find("a") == [entry("a", "intent"), entry("a", "receipt", 3.0)]
    assert any_ledger.find("nothing") == []


def test_an_intent_is_open_until_a_receipt_or_a_verdict_has_its_id(any_ledger: Ledger) -> None:
    any_ledger.append([entry(name, "intent") for name in "abcd"])
    any_ledger.append([entry("a", "receipt"), entry("c", "verdict"), entry("b", "note")])
    assert [e.id for e in any_ledger.open_intents()] == ["d", "b"]


@pytest.mark.parametrize("wrong", [{"x": float("nan")}, {"x": np.float32("inf")}, {"x": object()}, {"x": {1, 2}}])
def test_what_json_cannot_hold_is_refused_with_its_whole_batch(any_ledger: Ledger, wrong: Any) -> None:
    with pytest.raises(LedgerError, match="an entry cannot be recorded: "):
        any_ledger.append([entry("a", "note"), entry("b", "note", body=wrong)])
    with pytest.raises(LedgerError, match="no finite time"):
        any_ledger.append([entry("a", "note", at=float("nan"))])
    with pytest.raises(LedgerError, match="surrogates not allowed"):
        any_ledger.append([entry("\ud800", "note")])
    assert any_ledger.entries() == []


def test_numpy_scalars_are_recorded_as_numbers(any_ledger: Ledger) -> None:
    any_ledger.append([entry("a", "note", body={"x": np.float32(0.5), "n": np.int64(3), "b": np.bool_(1)})])
    assert any_ledger.find("a")[0].body == {"x": 0.5, "n": 3, "b": True}


def test_a_later_change_of_a_body_does_not_reach_the_record(any_ledger: Ledger) -> None:
    body = {"x": {"y": 1}}
    any_ledger.append([entry("a", "note", body=body)])
    body["x"]["y"] = 2
    assert any_ledger.find("a")[0].body == {"x": {"y": 1}}


def test_the_file_is_read_again_by_the_next_process(ledger: SqliteLedger, path: Path) -> None:
    ledger.append([entry("a", "intent"), entry("b", "intent", 2.0)])
    ledger.append([entry("a", "receipt", 3.0)])
    ledger.close()
    again = SqliteLedger(path)
    assert again.find("a") == [entry("a", "intent"), entry("a", "receipt", 3.0)]
    again.append([entry("c", "note")])
    assert again.verify() == 4
    again.close()


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=7, max_size=7),
    at=st.floats(allow_nan=False, allow_infinity=False),
    cycle=st.integers(-(2**63), 2**63 - 1),
)
def test_any_text_and_number_keeps_its_place_in_the_chain(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], at: float, cycle: int
) -> None:
    name, kind, target, knob, code, summary, word = texts
    odd = Entry(name, at, cycle, kind, target, knob, code, summary, {word: at})
    ledger = SqliteLedger(tmp_path_factory.mktemp("odd") / "ledger.db")
    ledger.append([odd, entry("b", "note")])
    assert ledger.find(name)[0] == odd
    assert ledger.verify() == 2
    ledger.close()


def test_entries_can_be_neither_changed_nor_removed_nor_replaced(ledger: SqliteLedger, path: Path) -> None:
    ledger.append([entry("a", "intent"), entry("b", "intent")])
    other = sqlite3.connect(path)
    for statement in (
        "UPDATE entry SET summary = 'x'",
        "DELETE FROM entry",
        "INSERT OR REPLACE INTO entry SELECT * FROM entry WHERE number = 1",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
    other.close()
    assert ledger.verify() == 2


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE entry SET summary = 'x' WHERE number = 2", "entry 2 does not match its hash"),
        ("DELETE FROM entry WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM entry WHERE number >= 3", "entry 3 is missing"),
        ("DELETE FROM entry", "entry 1 is missing"),
    ],
)
def test_what_was_changed_behind_the_triggers_is_found(
    ledger: SqliteLedger, path: Path, statement: str, found: str
) -> None:
    ledger.append([entry(name, "intent") for name in "abcd"])
    other = sqlite3.connect(path)
    other.execute("DROP TRIGGER entry_unchanged")
    other.execute("DROP TRIGGER entry_kept")
    other.execute(statement)
    other.commit()
    other.close()
    with pytest.raises(LedgerError, match=found):
        ledger.verify()
    with pytest.raises(LedgerError, match=found):
        SqliteLedger(path)


def test_at_open_only_the_newest_are_verified(
    ledger: SqliteLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governor.adapters.ledger.CHECKED_AT_OPEN", 2)
    ledger.append([entry(name, "intent") for name in "abcd"])
    other = sqlite3.connect(path)
    other.execute("DROP TRIGGER entry_unchanged")
    other.execute("UPDATE entry SET summary = 'x' WHERE number = 1")
    other.commit()
    again = SqliteLedger(path)
    with pytest.raises(LedgerError, match="entry 1 does not match"):
        again.verify()
    again.close()
    other.execute("UPDATE entry SET summary = 'x' WHERE number = 3")
    other.commit()
    other.close()
    with pytest.raises(LedgerError, match="entry 3 does not match"):
        SqliteLedger(path)


def test_a_locked_ledger_takes_all_or_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governor.adapters.ledger.WAIT_S", 0.05)
    ledger = SqliteLedger(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"ledger\.db: is locked by another process; end that process"):
        ledger.append([entry("a", "intent")])
    assert not ledger.entries()
    other.execute("ROLLBACK")
    other.close()
    ledger.append([entry("a", "intent")])
    assert ledger.verify() == 1
    ledger.close()


def test_on_a_full_disk_nothing_of_the_batch_is_kept(ledger: SqliteLedger) -> None:
    ledger.append([entry("a", "intent")])
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="the disk is full; free space"):
        ledger.append([entry(f"b{i}", "note", body={"x": "y" * 1000}) for i in range(50)])
    assert [e.id for e in ledger.entries()] == ["a"]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages + 100}")
    ledger.append([entry("c", "note")])
    assert ledger.verify() == 2


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"\0" * 5000, b"x"])
def test_garbage_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.db: is no SQLite file; it was left as it is"):
        SqliteLedger(path)
    assert path.read_bytes() == content


def test_damage_within_the_file_is_named_and_left_as_it_is(ledger: SqliteLedger, path: Path) -> None:
    ledger.append([entry(f"a{i}", "note", body={"x": "y" * 500}) for i in range(2000)])
    ledger.close()
    content = bytearray(path.read_bytes())
    # The schema page stays whole; pages in the first half, which are not read at open, are not.
    content[3 * 4096 : len(content) // 2] = os.urandom(len(content) // 2 - 3 * 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger.db: (is damaged; it was left as it is|entry \d+ )"):
        SqliteLedger(path).verify()
    assert path.read_bytes() == bytes(content)


def test_a_file_that_was_cut_off_is_damaged(ledger: SqliteLedger, path: Path) -> None:
    ledger.append([entry(f"a{i}", "note", body={"x": "y" * 500}) for i in range(100)])
    ledger.close()
    content = path.read_bytes()[: 5 * 4096]
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="is damaged; it was left as it is"):
        SqliteLedger(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipe (name)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(LedgerError, match=r"database of another program \(it holds recipe\)"):
        SqliteLedger(path)
    assert path.read_bytes() == content


def test_a_ledger_of_a_newer_governor_is_not_touched(ledger: SqliteLedger, path: Path) -> None:
    ledger._connection.execute("PRAGMA user_version = 9")
    with pytest.raises(LedgerError, match=r"newer governor \(ledger version 9, this one knows 1\)"):
        SqliteLedger(path)


def test_paths_that_cannot_be_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="its directory cannot be made"):
        SqliteLedger(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerError, match="cannot be opened; check that it is a file"):
        SqliteLedger(tmp_path)


def test_nothing_is_appended_to_a_file_that_nobody_will_find(ledger: SqliteLedger, path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    with pytest.raises(LedgerError, match="was moved, replaced or deleted while in use"):
        ledger.append([entry("a", "intent")])
    path.touch()
    with pytest.raises(LedgerError, match="was moved, replaced or deleted while in use"):
        ledger.append([entry("a", "intent")])


def test_after_close_every_call_says_so(ledger: SqliteLedger) -> None:
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append([entry("a", "intent")])
    with pytest.raises(LedgerError, match="closed"):
        ledger.entries()


def test_threads_and_a_second_opener_keep_one_chain(ledger: SqliteLedger, path: Path) -> None:
    second = SqliteLedger(path)
    failed: list[BaseException] = []

    def work(to: SqliteLedger, name: str) -> None:
        try:
            for i in range(20):
                to.append([entry(f"{name}{i}", "intent"), entry(f"{name}{i}", "receipt")])
                assert len(to.find(f"{name}{i}")) == 2
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(to, f"{i}-")) for i, to in enumerate([ledger, second] * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert second.verify() == 160
    assert ledger.open_intents() == []
    second.close()


def test_a_write_without_receipt_is_undone_after_kill_9(path: Path) -> None:
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
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    ledger, plane = SqliteLedger(path), MemoryControlPlane()
    assert ledger.open_intents() == [entry("a", "intent")]
    assert ledger.verify() == 1
    plane.write(EDGE_A, Knob.IN_FLIGHT_CAP, InFlightCap(20, 25))
    _, notes = recover(ports(plane, ledger))
    assert plane.written == {(EDGE_A, Knob.IN_FLIGHT_CAP): InFlightCap(40, 50)}
    assert "decision a has no receipt" in notes[0]
    assert [(e.kind, e.code) for e in ledger.find("a")] == [("intent", "GOV103"), ("verdict", "GOV305")]
    assert recover(ports(plane, ledger))[1] == ()
    assert ledger.verify() == 3
    ledger.close()


def test_of_several_open_intents_the_oldest_value_from_before_is_in_force(ledger: SqliteLedger) -> None:
    for name, before in (("a", 40), ("b", 20)):
        ledger.append([entry(name, "intent", body={"before": {"default": before, "high": None}})])
    plane = MemoryControlPlane()
    recover(ports(plane, ledger))
    assert plane.written == {(EDGE_A, Knob.IN_FLIGHT_CAP): InFlightCap(40, None)}


def ports(plane: MemoryControlPlane, ledger: Ledger) -> Ports:
    return Ports(None, plane, ledger, Fixed())  # type: ignore[arg-type]


class Fixed:
    def now(self) -> float:
        return 5.0
