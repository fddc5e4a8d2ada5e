"""Stand-ins that keep everything in memory: for a look that leaves nothing behind, for tests and benchmarks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from governor.domain import MeshIndex
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobState,
    KnobValue,
    OutlierDetection,
    Proposal,
    RateLimit,
    Receipt,
    RetryPolicy,
    Target,
    Timeout,
)
from governor.ports import Entry


class MemoryLedger:
    """A ledger that forgets when the process ends."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep `entries`."""
        with self._lock:
            self._entries.extend(entries)

    def entries(self, *, since: float = 0.0, kind: str | None = None, limit: int = 1000) -> Sequence[Entry]:
        """Newest first."""
        with self._lock:
            found = [e for e in reversed(self._entries) if e.at >= since and kind in (None, e.kind)]
        return found[:limit]

    def find(self, entry_id: str) -> Sequence[Entry]:
        """All entries of one decision, oldest first."""
        with self._lock:
            return [e for e in self._entries if e.id == entry_id]

    def open_intents(self) -> Sequence[Entry]:
        """Intents with neither receipt nor verdict."""
        with self._lock:
            closed = {e.id for e in self._entries if e.kind in ("receipt", "verdict")}
            return [e for e in self._entries if e.kind == "intent" and e.id not in closed]


class MemoryControlPlane:
    """Stand-in for a control plane: takes every write, and remembers it."""

    def __init__(self) -> None:
        self.written: dict[tuple[Target, Knob], KnobValue] = {}
        self.receipts: list[Receipt] = []

    def read(self, index: MeshIndex) -> KnobState:
        """What was written, over `index`; nothing else is set."""
        state = KnobState.unset(index)
        places = {f"edge/{n}": i for i, n in enumerate(index.edges)} | {
            f"api/{n}": i for i, n in enumerate(index.apis)
        }
        for (target, _), value in self.written.items():
            if (at := places.get(str(target))) is not None:
                _set(state, index, at, value)
        return state

    def refusal(self, proposal: Proposal) -> str | None:  # noqa: ARG002 - the port's signature
        """Everything can be said here."""
        return None

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        """Remember `value`."""
        before = self.written.get((target, knob), _unset(value))
        self.written[target, knob] = value
        self.receipts.append(Receipt(target, knob, before, value, str(len(self.receipts) + 1)))
        return self.receipts[-1]


def _unset(value: KnobValue) -> KnobValue:
    if isinstance(value, BackendWeights):
        return replace(value, shares=tuple((name, 1.0 / len(value.shares)) for name, _ in value.shares))
    return type(value)(*(None for _ in value.__dataclass_fields__))


def _set(state: KnobState, index: MeshIndex, at: int, value: KnobValue) -> None:
    def put(column: str, number: float | None) -> None:
        getattr(state, column)[at] = np.nan if number is None else number

    match value:
        case RateLimit():
            put("limit", value.requests_per_second)
        case InFlightCap():
            put("cap_default", value.default)
            put("cap_high", value.high)
        case RetryPolicy():
            put("attempts", value.attempts)
            put("retry_budget", value.budget)
        case Timeout():
            put("timeout", value.request_s)
            put("per_try_timeout", value.per_try_s)
        case OutlierDetection():
            put("max_ejection", value.max_ejection)
            put("consecutive_5xx", value.consecutive_5xx)
        case ConnectionLimits():
            put("max_connections", value.max_connections)
            put("max_pending", value.max_pending_requests)
        case BackendWeights():
            shares = dict(value.shares)
            for row in np.flatnonzero(index.backend_edge == at):
                state.weight[row] = shares.get(index.backends[row], np.nan)
