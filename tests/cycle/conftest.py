"""A small mesh in memory for the whole cycle; what the laws want is given by the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from governor.adapters.memory import MemoryControlPlane, MemoryLedger
from governor.domain import ApiSignals, BackendSignals, EdgeSignals, MeshFrame, MeshIndex, ServiceSignals
from governor.errors import ControlPlaneError, LedgerError, SourceUnreachable
from governor.knobs import (
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobState,
    KnobValue,
    Proposal,
    Receipt,
    Target,
    TargetKind,
)
from governor.policy import load_policies
from governor.ports import Entry
from governor.proposals import Batch, Proposals, code
from governor.reasons import Reason
from governor.turn import CycleOptions, Ports

INDEX = MeshIndex(
    services=("in", "web"),
    edges=("in>web", "in>db"),
    edge_caller=np.array([0, 0], np.int32),
    edge_callee=np.array([1, 1], np.int32),
)
WEB, DB = (Target(TargetKind.EDGE, name) for name in INDEX.edges)
OPEN = InFlightCap(None, None)


def frame(at: float, errors: float = 0.0) -> MeshFrame:
    """100 requests/s on each edge, of which `errors` fail."""
    rate = np.full(2, 100.0, np.float32)
    return MeshFrame(
        at,
        15.0,
        INDEX,
        ServiceSignals.unknown(2),
        EdgeSignals.unknown(2, rate=rate, errors=np.full(2, errors, np.float32)),
        BackendSignals.unknown(0),
        ApiSignals.unknown(0),
    )


def cap(target: Target, value: int, current: InFlightCap = OPEN) -> Proposal:
    """A wish for a cap that must keep 99 % of answers good within 10 s."""
    proposed = InFlightCap(value, value)
    return Proposal(
        target,
        Knob.IN_FLIGHT_CAP,
        current,
        proposed,
        proposed,
        Direction.TIGHTEN,
        Reason.CAP_MISSING,
        f"web carries much: {value}",
        {},
        Hypothesis("success_rate", 0.99, 10.0),
        1.0,
        100.0,
    )


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


class Source:
    """Frames at the clock's time; none while `down`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.errors = 0.0
        self.down = False

    def observe(self, window_s: float) -> MeshFrame:
        if self.down:
            raise SourceUnreachable("nobody there")
        return frame(self.clock.time, self.errors)

    def close(self) -> None:
        pass


class Plane(MemoryControlPlane):
    """Counts writes, and fails when told to."""

    def __init__(self) -> None:
        super().__init__(INDEX)
        self.unreadable = False
        self.broken = False
        self.writes: list[tuple[Target, KnobValue]] = []

    def read(self, index: MeshIndex) -> KnobState:
        if self.unreadable:
            raise ControlPlaneError("rtds.json is not JSON")
        return super().read(index)

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        if self.broken:
            raise ControlPlaneError("Envoy is gone")
        receipt = super().write(target, knob, value)
        self.writes.append((target, value))
        return receipt


class Full(MemoryLedger):
    """Has no room for entries of the kinds in `refuses`."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: set[str] = set()

    def append(self, entries: Sequence[Entry]) -> None:
        if self.refuses & {e.kind for e in entries}:
            raise LedgerError("ledger.db: cannot grow, the disk is full")
        super().append(entries)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(e.kind, e.code) for e in reversed(self.entries()) if e.kind != "cycle"]


@dataclass
class Mesh:
    """All ports, and the wishes of the laws."""

    clock: Clock = field(default_factory=Clock)
    plane: Plane = field(default_factory=Plane)
    ledger: Full = field(default_factory=Full)
    wishes: tuple[Proposal, ...] = ()

    def __post_init__(self) -> None:
        self.source = Source(self.clock)
        self.ports = Ports(self.source, self.plane, self.ledger, self.clock)
        self.options = CycleOptions(load_policies(["balanced"]), enforce=True, period_s=5.0, window_s=5.0)

    @property
    def in_force(self) -> dict[Target, KnobValue]:
        return {target: value for (target, _), value in self.plane.written.items()}


def proposals(wishes: Sequence[Proposal]) -> Proposals:
    """Wishes for caps as a law hands them over."""
    by_row = {INDEX.edges.index(wish.target.name): wish for wish in wishes}
    return Proposals(
        [
            Batch.of(
                Knob.IN_FLIGHT_CAP,
                np.array(list(by_row), np.intp),
                lambda line: by_row[line.row],
                direction=np.array([code(w.direction) for w in by_row.values()], np.int16),
                reason=np.array([code(w.reason) for w in by_row.values()], np.int16),
                urgent=[w.urgent for w in by_row.values()],
                traffic=[w.traffic for w in by_row.values()],
                confidence=[w.confidence for w in by_row.values()],
            )
        ]
    )


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Mesh:
    made = Mesh()
    monkeypatch.setattr("governor.cycle.decide", lambda *_, **__: (None, proposals(made.wishes)))
    return made
