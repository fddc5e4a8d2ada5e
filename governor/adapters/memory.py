"""A ledger and a control plane that live in memory.

The ledger serves `recommend`, which must leave nothing behind. The control plane is a stand-in for tests and
benchmarks: it takes every write at once and confirms nothing, because there is no data plane behind it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np

from governor.adapters.ledger import to_row
from governor.domain import FloatArray, MeshIndex
from governor.errors import LedgerError, WriteRejected
from governor.knobs import (
    VALUE_TYPES,
    BackendWeights,
    Knob,
    KnobState,
    KnobValue,
    Proposal,
    Receipt,
    Target,
    TargetKind,
    value_from_json,
)
from governor.ports import Entry

COLUMNS: Mapping[Knob, Mapping[str, str]] = {
    Knob.RATE_LIMIT: {"requests_per_second": "limit"},
    Knob.IN_FLIGHT_CAP: {"default": "cap_default", "high": "cap_high"},
    Knob.RETRIES: {"attempts": "attempts", "budget": "retry_budget"},
    Knob.TIMEOUT: {"request_s": "timeout", "per_try_s": "per_try_timeout"},
    Knob.OUTLIER_DETECTION: {"max_ejection": "max_ejection", "consecutive_5xx": "consecutive_5xx"},
    Knob.CONNECTION_LIMITS: {"max_connections": "max_connections", "max_pending_requests": "max_pending"},
}
"""Field of a value -> array of `KnobState`; weights are per backend and stand apart."""
_WHOLE = {"default", "high", "attempts", "consecutive_5xx", "max_connections", "max_pending_requests"}


class MemoryLedger:
    """Ledger of this process only, safe across threads. Refuses the entries that the ledger on disk refuses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep all of `entries`, or none and raise LedgerError if one holds what JSON cannot."""
        try:
            # Through JSON, so that a later change of a caller's mapping cannot reach what is recorded.
            kept = [replace(e, body=json.loads(to_row(e)[-1])) for e in entries]
        except (TypeError, ValueError) as error:
            raise LedgerError(f"an entry cannot be recorded: {error}") from error
        with self._lock:
            self._entries.extend(kept)

    def entries(self, *, since: float = 0.0, kind: str | None = None, limit: int = 1000) -> Sequence[Entry]:
        """Newest first, by the order in which they were appended; `since` in seconds since the epoch."""
        found = [e for e in reversed(self._all()) if e.at >= since and kind in (None, e.kind)]
        return found[: max(0, limit)]

    def find(self, entry_id: str) -> Sequence[Entry]:
        """All entries of one decision, oldest first; empty if there is none."""
        return [e for e in self._all() if e.id == entry_id]

    def open_intents(self) -> Sequence[Entry]:
        """Intents with neither receipt nor verdict, newest first."""
        entries = self._all()
        closed = {e.id for e in entries if e.kind in ("receipt", "verdict")}
        return [e for e in reversed(entries) if e.kind == "intent" and e.id not in closed]

    def _all(self) -> list[Entry]:
        with self._lock:
            return list(self._entries)


class MemoryControlPlane:
    """Stand-in for a mesh: starts from `state` over `index` and keeps what is written; safe across threads.

    With an index, a target that it does not name is refused; without one every target exists and nothing is
    set. Knobs in `refuses` cannot be expressed.
    """

    def __init__(
        self, index: MeshIndex | None = None, state: KnobState | None = None, refuses: Sequence[Knob] = ()
    ) -> None:
        if state is not None and index is None:
            raise ValueError("a KnobState is arrays over an index: give the index too")
        self._index = index
        self._state = state if state is not None or index is None else KnobState.unset(index)
        self._refuses = frozenset(refuses)
        self._written: dict[tuple[Target, Knob], KnobValue] = {}
        self._receipts: list[Receipt] = []
        self._lock = threading.Lock()

    @property
    def written(self) -> dict[tuple[Target, Knob], KnobValue]:
        """The last value written to each knob."""
        with self._lock:
            return dict(self._written)

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """All writes that were taken, oldest first."""
        with self._lock:
            return tuple(self._receipts)

    def read(self, index: MeshIndex) -> KnobState:
        """Settings in force, over `index`; NaN for names that are unknown here. The arrays are the caller's."""
        arrays = self._started_with(index)
        for (target, knob), value in self.written.items():
            at = _places(index, target.kind).get(target.name)
            if at is not None:
                _set(arrays, index, at, knob, value)
        return KnobState(**arrays)

    def refusal(self, proposal: Proposal) -> str | None:
        """Why this proposal cannot be expressed here, or None if it can; never writes."""
        return self._why_not(proposal.target, proposal.knob, proposal.proposed)

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        """Set one knob; WriteRejected for a refused knob, an unknown target or a value of another knob."""
        why_not = self._why_not(target, knob, value)
        if why_not is not None:
            raise WriteRejected(f"{knob.value} of {target}: {why_not}")
        with self._lock:
            before = self._written.get((target, knob)) or self._at_start(target, knob, value)
            receipt = Receipt(target, knob, before, value, str(len(self._receipts) + 1))
            self._written[target, knob] = value
            self._receipts.append(receipt)
        return receipt

    def _why_not(self, target: Target, knob: Knob, value: KnobValue) -> str | None:
        if knob in self._refuses:
            return f"this control plane has no {knob.value}"
        if not isinstance(value, VALUE_TYPES[knob]):
            return f"a {type(value).__name__} is no value of {knob.value}"
        if target.kind is not knob.sits_on:
            return f"{knob.value} sits on an {knob.sits_on.value}"
        if self._index is not None and target.name not in _places(self._index, target.kind):
            return "there is no such target"
        return None

    def _started_with(self, index: MeshIndex) -> dict[str, FloatArray]:
        arrays = {f.name: getattr(KnobState.unset(index), f.name) for f in fields(KnobState)}
        if self._index is None or self._state is None:
            return arrays
        for name, into in arrays.items():
            start: FloatArray = getattr(self._state, name)
            if self._index.same_names(index):
                into[:] = start
                continue
            known = {subject: i for i, subject in enumerate(_subjects(self._index, name))}
            for i, subject in enumerate(_subjects(index, name)):
                if subject in known:
                    into[i] = start[known[subject]]
        return arrays

    def _at_start(self, target: Target, knob: Knob, value: KnobValue) -> KnobValue:
        index, state = self._index, self._state
        if isinstance(value, BackendWeights):
            return self._weights_at_start(target, value)
        if index is None or state is None:
            return value_from_json(knob, dict.fromkeys(COLUMNS[knob]))
        at = _places(index, target.kind)[target.name]
        return value_from_json(knob, {f: _number(f, getattr(state, c)[at]) for f, c in COLUMNS[knob].items()})

    def _weights_at_start(self, target: Target, value: BackendWeights) -> BackendWeights:
        # Where no weights are set the data plane spreads evenly, and that is what can be put back.
        if self._index is None or self._state is None:
            return BackendWeights(tuple((name, 1.0 / len(value.shares)) for name, _ in value.shares))
        members = np.flatnonzero(self._index.backend_edge == self._index.edge_position[target.name])
        shares = self._state.weight[members]
        shares = np.where(np.isfinite(shares), shares, np.float32(1.0 / max(1, len(members))))
        names = (self._index.backends[int(b)] for b in members)
        return BackendWeights(tuple((name, float(share)) for name, share in zip(names, shares, strict=True)))


def _number(name: str, value: np.float32) -> float | int | None:
    if not np.isfinite(value):
        return None
    return round(float(value)) if name in _WHOLE else float(value)


def _places(index: MeshIndex, kind: TargetKind) -> Mapping[str, int]:
    return index.api_position if kind is TargetKind.API else index.edge_position


def _subjects(index: MeshIndex, name: str) -> Sequence[object]:
    if name == "weight":
        return [(index.edges[e], b) for b, e in zip(index.backends, index.backend_edge, strict=True)]
    return index.apis if name == "limit" else index.edges


def _set(arrays: dict[str, FloatArray], index: MeshIndex, at: int, knob: Knob, value: KnobValue) -> None:
    if isinstance(value, BackendWeights):
        shares = dict(value.shares)
        for b in np.flatnonzero(index.backend_edge == at):
            arrays["weight"][b] = shares.get(index.backends[b], np.nan)
        return
    for name, column in COLUMNS[knob].items():
        setting = getattr(value, name)
        arrays[column][at] = np.nan if setting is None else setting
