"""The ledger on disk: SQLite, append-only, each line chained to the one before it by its hash.

Triggers refuse updates and deletes, and a changed line breaks the chain, so that what the ledger says is what
happened. Each append is one durable transaction (WAL, synchronous FULL).
Source: SQLite, Write-Ahead Logging and PRAGMA synchronous.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from governor.errors import LedgerError
from governor.ports import Entry

WAIT_S = 2.0
VERSION = 1
COLUMNS = "id, at, cycle, kind, target, knob, code, summary, body"
_INSERT = f"INSERT INTO entry ({COLUMNS}, hash) VALUES ({'?,' * 9}?)"  # noqa: S608 - constants only
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at REAL NOT NULL, cycle INTEGER NOT NULL,
  kind TEXT NOT NULL, target TEXT NOT NULL, knob TEXT NOT NULL, code TEXT NOT NULL, summary TEXT NOT NULL,
  body TEXT NOT NULL, hash TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_id ON entry (id);
CREATE INDEX IF NOT EXISTS entry_at ON entry (at);
CREATE TRIGGER IF NOT EXISTS entry_kept BEFORE DELETE ON entry
  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entry_unchanged BEFORE UPDATE ON entry
  BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


class SqliteLedger:
    """Ledger in the file `path`, usable from several threads; LedgerError where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{path.parent}: cannot be made ({error.strerror}); set ledger.path") from error
        with self._errors():
            self._db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def append(self, entries: Sequence[Entry]) -> None:
        """Write all of `entries` in one durable transaction, or none and raise LedgerError."""
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                last = self._last_hash()
                for entry in entries:
                    line = _line(entry)
                    last = _chained(last, line)
                    self._db.execute(_INSERT, (*line, last))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def entries(self, *, since: float = 0.0, kind: str | None = None, limit: int = 1000) -> Sequence[Entry]:
        """Newest first."""
        return self._read(
            "at >= ? AND (? IS NULL OR kind = ?) ORDER BY number DESC LIMIT ?", since, kind, kind, limit
        )

    def find(self, entry_id: str) -> Sequence[Entry]:
        """All entries of one decision, oldest first."""
        return self._read("id = ? ORDER BY number", entry_id)

    def open_intents(self) -> Sequence[Entry]:
        """Intents with neither receipt nor verdict, oldest first."""
        closed = "SELECT id FROM entry WHERE kind IN ('receipt', 'verdict')"
        return self._read(f"kind = 'intent' AND id NOT IN ({closed}) ORDER BY number")

    def verify(self) -> int:
        """Number of lines whose chain holds; LedgerError names the first that was changed."""
        last, count = "", 0
        with self._lock, self._errors():
            rows = self._db.execute(f"SELECT {COLUMNS}, hash, number FROM entry ORDER BY number")  # noqa: S608
            for *line, found, number in rows:
                last = _chained(last, tuple(line))
                if last != found:
                    raise LedgerError(
                        f"{self.path}: line {number} was changed after it was written; keep the file as "
                        "evidence and set ledger.path to a new one"
                    )
                count += 1
        return count

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise LedgerError(f"{self.path}: made by a newer governor (version {version}); set ledger.path")
        (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        if version == 0:
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def _last_hash(self) -> str:
        row = self._db.execute("SELECT hash FROM entry ORDER BY number DESC LIMIT 1").fetchone()
        return str(row[0]) if row else ""

    def _read(self, where: str, *values: object) -> Sequence[Entry]:
        with self._lock, self._errors():
            rows = self._db.execute(f"SELECT {COLUMNS} FROM entry WHERE {where}", values).fetchall()  # noqa: S608
            return [_entry(row) for row in rows]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What SQLite says, as what a person must do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{self.path}: {_advice(error)}") from error


def _advice(error: sqlite3.DatabaseError) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "locked by another process: is a second governor running on this ledger?"
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full: free space; nothing is written to the mesh until then"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or not code:
        return f"not a ledger, or damaged ({error}): move it away, or set ledger.path to a new file"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"cannot be written ({error}): check owner and mode of the file and its directory"
    return str(error)


def _line(entry: Entry) -> tuple[object, ...]:
    body = json.dumps(dict(entry.body), sort_keys=True, allow_nan=False)
    head = (entry.id, float(entry.at), entry.cycle, entry.kind)
    return (*head, entry.target, entry.knob, entry.code, entry.summary, body)


def _chained(last: str, line: tuple[object, ...]) -> str:
    return hashlib.sha256((last + json.dumps(line)).encode()).hexdigest()


def _entry(row: tuple[Any, ...]) -> Entry:
    name, at, cycle, kind, target, knob, code, summary, body = row
    return Entry(name, at, cycle, kind, target, knob, code, summary, json.loads(body))
