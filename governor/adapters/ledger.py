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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from governor.errors import LedgerError
from governor.ports import Entry

WAIT_S = 2.0
CHECKED_AT_OPEN = 1000
"""Newest entries whose chain is verified at each start; `verify` looks at all."""
VERSION = 1
_MAGIC = b"SQLite format 3\0"
COLUMNS = "id, at, cycle, kind, target, knob, code, summary, body"
_INSERT = f"INSERT INTO entry (number, {COLUMNS}, hash) VALUES ({'?,' * 10}?)"  # noqa: S608 - constants only
_CHAIN = f"SELECT number, {COLUMNS}, hash FROM entry WHERE number >= ? ORDER BY number"  # noqa: S608 - the same
_SCHEMA = (
    """CREATE TABLE entry (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at REAL NOT NULL, cycle INTEGER NOT NULL,
        kind TEXT NOT NULL, target TEXT NOT NULL, knob TEXT NOT NULL, code TEXT NOT NULL, summary TEXT NOT NULL,
        body TEXT NOT NULL, hash TEXT NOT NULL)""",
    "CREATE INDEX entry_id ON entry (id, kind)",
    "CREATE INDEX entry_kind ON entry (kind)",
    """CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    """CREATE TRIGGER entry_kept BEFORE DELETE ON entry
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    """CREATE TRIGGER entry_not_replaced BEFORE INSERT ON entry
        WHEN EXISTS (SELECT 1 FROM entry WHERE number = NEW.number)
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    f"PRAGMA user_version = {VERSION}",
)
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
        self._refuse_other_files()
        with self._explained():
            self._connection = sqlite3.connect(
                path, timeout=WAIT_S, check_same_thread=False, isolation_level=None
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
            raise LedgerError(f"{self.path}: an entry cannot be recorded: {error}") from error
        with self._lock:
            self._still_there()
            with self._explained(), self._transaction():
                number, last = self._last()
                for row in rows:
                    number, last = number + 1, _chained(last, row)
                    self._connection.execute(_INSERT, (number, *row, last))

    def entries(self, *, since: float = 0.0, kind: str | None = None, limit: int = 1000) -> Sequence[Entry]:
        """Newest first, by the order in which they were appended; `since` in seconds since the epoch."""
        kinds, about = ("", ()) if kind is None else (" AND kind = ?", (kind,))
        return self._read(f"at >= ?{kinds} ORDER BY number DESC LIMIT ?", since, *about, max(0, limit))

    def find(self, entry_id: str) -> Sequence[Entry]:
        """All entries of one decision, oldest first; empty if there is none."""
        return self._read("id = ? ORDER BY number", entry_id)

    def open_intents(self) -> Sequence[Entry]:
        """Intents with neither receipt nor verdict, newest first.

        Undone in this order, a target with several of them ends at the value from before the oldest.
        """
        closed = "SELECT 1 FROM entry WHERE id = intent.id AND kind IN ('receipt', 'verdict')"
        return self._read(f"kind = 'intent' AND NOT EXISTS ({closed}) ORDER BY number DESC")

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

    def _refuse_other_files(self) -> None:
        # SQLite takes a file of less than a page for an empty database and would write over it.
        with self._explained():
            if not self.path.is_file():
                return
            with self.path.open("rb") as file:
                start = file.read(len(_MAGIC))
        if start and start != _MAGIC:
            raise LedgerError(f"{self.path}: {_ADVICE[sqlite3.SQLITE_NOTADB]}")

    def _prepare(self) -> None:
        run = self._connection.execute
        tables = self._tables()
        if tables and "entry" not in tables:
            raise LedgerError(
                f"{self.path}: is a database of another program (it holds {', '.join(sorted(tables)[:3])}); "
                "it was left as it is: set another ledger.path"
            )
        (version,) = run("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise LedgerError(
                f"{self.path}: was written by a newer governor (ledger version {version}, this one knows "
                f"{VERSION}); use that governor or set another ledger.path"
            )
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        if not tables:
            with self._transaction():
                # Another process may have made it since we looked.
                for statement in _SCHEMA if not self._tables() else ():
                    run(statement)

    def _tables(self) -> set[str]:
        return {str(name) for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}

    def _last(self) -> tuple[int, str]:
        row = self._connection.execute("SELECT number, hash FROM entry ORDER BY number DESC LIMIT 1").fetchone()
        return (int(row[0]), str(row[1])) if row else (0, "")

    def _check(self, newest: int | None) -> int:
        run = self._connection.execute
        # One transaction, so that an append by another process does not look like a difference.
        with self._explained(), self._transaction("DEFERRED"):
            end, _ = self._last()
            given = run("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()
            if given is not None and given[0] != end:
                raise self._broken(end + 1, "is missing")
            first = 1 if newest is None else max(1, end - newest + 1)
            before = run("SELECT hash FROM entry WHERE number = ?", (first - 1,)).fetchone()
            last = str(before[0]) if before else ""
            for expected, (number, *row, stored) in enumerate(run(_CHAIN, (first,)), first):
                if number != expected:
                    raise self._broken(expected, "is missing")
                last = _chained(last, tuple(row))
                if last != stored:
                    raise self._broken(number, "does not match its hash")
        return end

    def _broken(self, number: int, what: str) -> LedgerError:
        return LedgerError(
            f"{self.path}: entry {number} {what}: the ledger was changed after it was written, or the disk "
            "damaged it; keep the file as evidence and set another ledger.path"
        )

    def _read(self, where: str, *values: object) -> list[Entry]:
        query = f"SELECT {COLUMNS} FROM entry AS intent WHERE {where}"  # noqa: S608 - values are bound
        with self._lock, self._explained():
            return [_to_entry(row) for row in self._connection.execute(query, values)]

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
    """The columns of one entry; TypeError or ValueError if it holds what JSON (NaN) or UTF-8 cannot."""
    body = json.dumps(dict(entry.body), sort_keys=True, allow_nan=False, default=_plain)
    at = float(entry.at) + 0.0  # SQLite keeps no sign of zero, and the hash would see the difference.
    if not np.isfinite(at):
        raise ValueError(f"entry {entry.id} has no finite time")
    texts = (entry.kind, entry.target, entry.knob, entry.code, entry.summary)
    (entry.id + "".join(texts)).encode()  # Half a surrogate pair cannot be stored.
    return (entry.id, at, int(entry.cycle), *texts, body)


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _to_entry(row: _Row) -> Entry:
    name, at, cycle, kind, target, knob, code, summary, body = row
    return Entry(name, at, cycle, kind, target, knob, code, summary, json.loads(body))


def _chained(last: str, row: _Row) -> str:
    return hashlib.sha256((last + json.dumps(row)).encode()).hexdigest()
