"""The ledger as one SQLite file that can only grow.

Triggers refuse update and delete, and each row carries sha256(hash of the row before + own content). That shows
damage and careless edits; whoever can rewrite the whole file can also compute a new chain. Each append is one
transaction, synced before it returns (WAL, synchronous=FULL). A second process may read and append meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from governor.errors import LedgerError
from governor.ports import Entry

BUSY_S = 2.0
CHECKED_AT_OPEN = 1000
"""Newest rows whose chain is verified at each start; `verify` looks at all."""
APPLICATION_ID = 0x474F5652
"""`GOVR`: written into the header of the file, so that no other database is taken for a ledger."""
VERSION = 1
_START = bytes(32)
_COLUMNS = "id, at, cycle, kind, target, knob, code, summary, body"
_SCHEMA = (
    """CREATE TABLE entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL, at REAL NOT NULL, cycle INTEGER NOT NULL, kind TEXT NOT NULL,
        target TEXT NOT NULL, knob TEXT NOT NULL, code TEXT NOT NULL, summary TEXT NOT NULL,
        body TEXT NOT NULL, hash BLOB NOT NULL)""",
    "CREATE INDEX entries_id ON entries (id, kind)",
    "CREATE INDEX entries_kind ON entries (kind)",
    "CREATE INDEX entries_at ON entries (at)",
    """CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    # INSERT OR REPLACE deletes without asking the delete trigger.
    """CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries
        WHEN EXISTS (SELECT 1 FROM entries WHERE seq = NEW.seq)
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
_OPEN_INTENTS = f"""SELECT {_COLUMNS} FROM entries AS intent WHERE kind = 'intent' AND NOT EXISTS
    (SELECT 1 FROM entries WHERE id = intent.id AND kind IN ('receipt', 'verdict')) ORDER BY seq DESC"""  # noqa: S608
_ADVICE = {
    sqlite3.SQLITE_BUSY: "is locked by another process; end that process (fuser shows it) or set ledger.path",
    sqlite3.SQLITE_LOCKED: "is locked by another connection; try again or set another ledger.path",
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full; free space on its volume; this append was not kept",
    sqlite3.SQLITE_NOTADB: "is no SQLite file; it was left as it is: move it away or set another ledger.path",
    sqlite3.SQLITE_CORRUPT: "is damaged; it was left as it is: copy it, then move it away or restore a backup",
    sqlite3.SQLITE_READONLY: "cannot be written; give this user write permission on the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that it is a file, and the permissions of its directory",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk reports an error; check its volume",
}
_Row = tuple[Any, ...]


class SqliteLedger:
    """Ledger in the SQLite file at `path`; the file and its directory are made when they are not there.

    Safe across threads. Every method raises LedgerError that names the file, what is wrong with it and what to
    do. The file is never deleted, moved or repaired.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"{path}: its directory cannot be made ({error}); make it or set another ledger.path"
            ) from error
        with self._explained():
            self._connection = sqlite3.connect(
                path, timeout=BUSY_S, check_same_thread=False, isolation_level=None
            )
        try:
            with self._explained():
                self._prepare()
                self._inode = path.stat().st_ino
            self._check(CHECKED_AT_OPEN)
        except BaseException:
            self._connection.close()
            raise

    def append(self, entries: Sequence[Entry]) -> None:
        """Write all of `entries` durably in one transaction, or none and raise LedgerError."""
        try:
            rows = [to_row(e) for e in entries]
        except (TypeError, ValueError) as error:
            raise LedgerError(f"{self.path}: an entry cannot be recorded as JSON: {error}") from error
        with self._lock:
            self._still_there()
            with self._explained(), self._transaction():
                seq, head = self._head()
                for row in rows:
                    seq += 1
                    head = _link(head, seq, row)
                    self._connection.execute(
                        f"INSERT INTO entries (seq, {_COLUMNS}, hash) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                        (seq, *row, head),
                    )

    def entries(self, *, since: float = 0.0, kind: str | None = None, limit: int = 1000) -> Sequence[Entry]:
        """Newest first, by the order in which they were appended; `since` in seconds since the epoch."""
        kinds, about = ("", ()) if kind is None else ("AND kind = ?", (kind,))
        query = f"SELECT {_COLUMNS} FROM entries WHERE at >= ? {kinds} ORDER BY seq DESC LIMIT ?"  # noqa: S608
        return self._read(query, (since, *about, max(0, limit)))

    def find(self, entry_id: str) -> Sequence[Entry]:
        """All entries of one decision, oldest first; empty if there is none."""
        return self._read(f"SELECT {_COLUMNS} FROM entries WHERE id = ? ORDER BY seq", (entry_id,))  # noqa: S608

    def open_intents(self) -> Sequence[Entry]:
        """Intents with neither receipt nor verdict, newest first.

        Undone in this order, a target with several of them ends at the value from before the oldest.
        """
        return self._read(_OPEN_INTENTS, ())

    def verify(self) -> int:
        """Check the whole file and chain; number of entries, or LedgerError that names the first bad one."""
        with self._lock:
            with self._explained():
                found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check(3)")]
            if found != ["ok"]:
                raise LedgerError(f"{self.path}: {_ADVICE[sqlite3.SQLITE_CORRUPT]} ({'; '.join(found)})")
            return self._check(None)

    def close(self) -> None:
        """Give the file back. Later calls raise LedgerError."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        run = self._connection.execute
        owner = run("PRAGMA application_id").fetchone()[0]
        if owner != APPLICATION_ID and run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise LedgerError(
                f"{self.path}: is a database of another program; it was left as it is: set another ledger.path"
            )
        version = run("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise LedgerError(
                f"{self.path}: was written by a newer governor (ledger version {version}, this one knows "
                f"{VERSION}); use that governor or set another ledger.path"
            )
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        if owner != APPLICATION_ID:
            with self._transaction():
                # Another process may have made it since we looked.
                if not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in _SCHEMA:
                        run(statement)

    def _head(self) -> tuple[int, bytes]:
        row = self._connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return (row[0], row[1]) if row else (0, _START)

    def _check(self, newest: int | None) -> int:
        # One transaction, so that an append by another process does not look like a difference.
        with self._explained(), self._transaction("DEFERRED"):
            last, _ = self._head()
            given = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
            if given is not None and given[0] != last:
                raise self._broken(last + 1, "is missing: the newest entries were removed")
            first = 1 if newest is None else max(1, last - newest + 1)
            before = self._connection.execute("SELECT hash FROM entries WHERE seq = ?", (first - 1,)).fetchone()
            head = before[0] if before else _START
            rows = self._connection.execute(
                f"SELECT seq, {_COLUMNS}, hash FROM entries WHERE seq >= ? ORDER BY seq",  # noqa: S608
                (first,),
            )
            for expected, (seq, *row, stored) in enumerate(rows, first):
                if seq != expected:
                    raise self._broken(expected, "is missing")
                head = _link(head, seq, tuple(row))
                if head != stored:
                    raise self._broken(seq, "does not match its hash")
        return int(last)

    def _broken(self, seq: int, what: str) -> LedgerError:
        return LedgerError(
            f"{self.path}: entry {seq} {what}: the ledger was changed after it was written, or the disk damaged "
            f"it; keep the file for whoever looks into it, and set another ledger.path"
        )

    def _read(self, query: str, values: Iterable[Any]) -> list[Entry]:
        with self._lock, self._explained():
            return [_to_entry(row) for row in self._connection.execute(query, tuple(values))]

    def _still_there(self) -> None:
        # SQLite goes on writing into a file that was moved or deleted, and nobody would ever read it.
        try:
            same = self.path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise LedgerError(f"{self.path}: was moved, replaced or deleted while in use; restart the governor")

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[None]:
        self._connection.execute(f"BEGIN {mode}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite may have rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            advice = _ADVICE.get(code, "cannot be used")
            raise LedgerError(f"{self.path}: {advice} ({error})") from error


def to_row(entry: Entry) -> _Row:
    """The columns of one entry; TypeError or ValueError if it holds what JSON cannot (NaN included)."""
    body = json.dumps(dict(entry.body), sort_keys=True, allow_nan=False, default=_plain)
    at = float(entry.at)
    if not np.isfinite(at):
        raise ValueError(f"entry {entry.id} has no finite time")
    texts = (entry.kind, entry.target, entry.knob, entry.code, entry.summary)
    return (entry.id, at, int(entry.cycle), *texts, body)


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _to_entry(row: _Row) -> Entry:
    *columns, body = row
    return Entry(*columns, json.loads(body))


def _link(before: bytes, seq: int, row: _Row) -> bytes:
    content = json.dumps([seq, *row], separators=(",", ":"))
    return hashlib.sha256(before + content.encode()).digest()
