"""What the cycle asks of the world: Protocols of at most four methods, implemented in `adapters/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from governor.domain import MeshFrame, MeshIndex
from governor.knobs import Knob, KnobState, KnobValue, Proposal, Receipt, Target
from governor.predict.model import TrainedForecast


class MetricSource(Protocol):
    """Where frames come from."""

    def observe(self, window_s: float) -> MeshFrame:
        """The last `window_s` seconds as one frame; SourceError if there is no usable answer."""

    def close(self) -> None:
        """Release connections and threads."""


@runtime_checkable
class Glances(Protocol):
    """A metric source that measures more often than a cycle comes, and can be asked in between."""

    def glance(self, window_s: float) -> MeshFrame | None:
        """The last `window_s` seconds over the names of the last `observe`, without waiting.

        None if nothing has been measured since the last glance, or if there was no `observe` yet. The frames
        that `observe` gives are the same whether somebody glances in between or not.
        """


class ControlPlane(Protocol):
    """Where knobs are read and written."""

    def read(self, index: MeshIndex) -> KnobState:
        """Settings in force, over `index`; ControlPlaneError if they cannot be read."""

    def refusal(self, proposal: Proposal) -> str | None:
        """Why this proposal cannot be expressed here, or None if it can; never writes."""

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        """Set one knob and return only when the data plane has taken it.

        Raises WriteRejected or WriteUnconfirmed with the old value back in force.
        """


@runtime_checkable
class KeepsBaseline(Protocol):
    """A control plane that remembers the operator's own values where every replica finds them."""

    def baseline(self) -> Mapping[tuple[Target, Knob], KnobValue]:
        """The value from before the governor's first write, of all that it has changed and not given back."""


class ModelStore(Protocol):
    """Where the trained forecast comes from."""

    def current(self) -> tuple[TrainedForecast | None, str]:
        """The model that is to serve now, None for the baseline, and why it is not the newest (empty if it is).

        Cheap: called each cycle. A new model that cannot be used leaves the old one serving.
        """

    def close(self) -> None:
        """Release threads."""


class Leadership(Protocol):
    """Whether this replica is the one that writes. Safe to be asked from any thread."""

    def held(self) -> bool:
        """Whether a write that begins now ends while no other replica can lead."""

    def token(self) -> int:
        """Number of the term, greater than that of every earlier leader; NotLeader if it is not held."""

    def check(self) -> None:
        """Called just before each write: NotLeader, with the reason, if leadership is not held."""

    def close(self) -> None:
        """Hand leadership over at once; call it when no write is under way any more."""


class Clock(Protocol):
    """Time, so that replay and tests can bring their own."""

    def now(self) -> float:
        """Seconds since the epoch."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `kind`: intent, receipt, verdict, cycle, note."""

    id: str
    at: float
    cycle: int
    kind: str
    target: str
    knob: str
    code: str
    summary: str
    body: Mapping[str, Any]


class Ledger(Protocol):
    """Append-only record; what is not in it did not happen."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Write all of `entries` durably, or none and raise LedgerError."""

    def entries(self, *, since: float = 0.0, kind: str | None = None, limit: int = 1000) -> Sequence[Entry]:
        """Newest first."""

    def find(self, entry_id: str) -> Sequence[Entry]:
        """All entries of one decision (same id), oldest first; empty if there is none."""

    def open_intents(self) -> Sequence[Entry]:
        """Intents with neither receipt nor verdict: writes that may or may not have happened."""
