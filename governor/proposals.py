"""What the laws propose, as columns: a proposal becomes an object only when somebody looks at it.

In a mesh of 100,000 edges a law may want to change every one of them, and the guard lets twenty go. So a law
hands over a `Batch`: arrays with all that the guard needs, and a builder of the words and values of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governor.knobs import Direction, Knob, Proposal
from governor.reasons import Reason

Codes = NDArray[np.int16]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

DIRECTIONS = tuple(Direction)
REASONS = tuple(Reason)
_CODES: dict[Direction | Reason, int] = {d: i for i, d in enumerate(DIRECTIONS)} | {
    r: i for i, r in enumerate(REASONS)
}


def code(value: Direction | Reason) -> int:
    """How a direction or a reason is written in a column: its position in `DIRECTIONS` or `REASONS`."""
    return _CODES[value]


def pick(where: Flags, yes: Direction | Reason, no: Direction | Reason | Codes) -> Codes:
    """A column of codes: `yes` where the flag is set, else `no`; nested for more than two."""
    other = no if isinstance(no, np.ndarray) else code(no)
    return np.where(where, code(yes), other).astype(np.int16)


@dataclass(frozen=True)
class Line:
    """One row of a batch: what the law decided, before words are made of it."""

    row: int
    """Position of the target in `MeshIndex.edges` or `.apis`."""
    direction: Direction
    reason: Reason
    urgent: bool
    traffic: float
    """Requests/s that the change touches."""
    confidence: float


@dataclass(frozen=True, eq=False)
class Batch:
    """What one law proposes in one cycle; arrays (P,), one place a proposal."""

    knob: Knob
    rows: Rows
    """Positions in `MeshIndex.edges`, or in `.apis` for a knob that sits on an API; each at most once."""
    direction: Codes
    """Positions in `DIRECTIONS`."""
    reason: Codes
    """Positions in `REASONS`."""
    urgent: Flags
    traffic: Floats
    """Requests/s that the change touches."""
    confidence: Floats
    """0..1."""
    builder: Callable[[Line], Proposal]
    """Makes the whole proposal of one line; pure, so that it may be called late, and again."""

    @classmethod
    def of(
        cls,
        knob: Knob,
        rows: Rows,
        builder: Callable[[Line], Proposal],
        *,
        direction: Codes | Direction,
        reason: Codes | Reason,
        traffic: ArrayLike,
        confidence: ArrayLike,
        urgent: ArrayLike = False,
    ) -> Self:
        """A batch over `rows` (P,); every other column is (P,) too, or one value for all."""
        size = len(rows)

        def codes(values: Codes | Direction | Reason) -> Codes:
            given = values if isinstance(values, np.ndarray) else code(values)
            return np.broadcast_to(np.asarray(given, np.int16), size)

        return cls(
            knob=knob,
            rows=rows,
            direction=codes(direction),
            reason=codes(reason),
            urgent=np.broadcast_to(np.asarray(urgent, np.bool_), size),
            traffic=np.broadcast_to(np.asarray(traffic, np.float64), size),
            confidence=np.broadcast_to(np.asarray(confidence, np.float64), size),
            builder=builder,
        )

    @classmethod
    def none(cls, knob: Knob) -> Self:
        """A law that has nothing to say."""
        empty = np.empty(0, np.int16)
        flags, floats = empty.astype(np.bool_), empty.astype(np.float64)
        return cls(knob, empty.astype(np.intp), empty, empty, flags, floats, floats, _build_nothing)

    def __len__(self) -> int:
        return len(self.rows)

    def line(self, i: int) -> Line:
        """The `i`-th proposal without its words and values."""
        return Line(
            row=int(self.rows[i]),
            direction=DIRECTIONS[self.direction[i]],
            reason=REASONS[self.reason[i]],
            urgent=bool(self.urgent[i]),
            traffic=float(self.traffic[i]),
            confidence=float(self.confidence[i]),
        )

    def build(self, i: int) -> Proposal:
        """The `i`-th proposal, whole."""
        return self.builder(self.line(i))


def _build_nothing(line: Line) -> Proposal:
    raise IndexError(f"row {line.row}: this law proposes nothing")


class Proposals(Sequence[Proposal]):
    """All batches of a cycle as one sequence, in the order of the laws; each proposal is built when looked at."""

    def __init__(self, batches: Sequence[Batch] = ()) -> None:
        self.batches = tuple(batch for batch in batches if len(batch))
        self._starts = np.cumsum([0, *(len(batch) for batch in self.batches)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, at: int) -> Proposal: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Proposal, ...]: ...
    def __getitem__(self, at: int | slice) -> Proposal | tuple[Proposal, ...]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        batch, i = self.locate(at)
        return batch.build(i)

    def locate(self, at: int) -> tuple[Batch, int]:
        """The batch of the proposal at position `at`, and its place there; IndexError if there is none."""
        position = at + len(self) if at < 0 else at
        if not 0 <= position < len(self):
            raise IndexError(f"proposal {at} of {len(self)}")
        which = int(np.searchsorted(self._starts, position, "right")) - 1
        return self.batches[which], position - int(self._starts[which])

    def pieces(self) -> list[tuple[Batch, slice]]:
        """Each batch with the positions of its proposals."""
        ends = zip(self._starts, self._starts[1:], strict=False)
        return [(b, slice(int(i), int(j))) for b, (i, j) in zip(self.batches, ends, strict=True)]

    def most_protecting_first(self) -> Rows:
        """(P,) all positions: urgent before others, then by traffic, then in the order of the laws."""
        if not self.batches:
            return np.empty(0, np.intp)
        calm = ~np.concatenate([b.urgent for b in self.batches])
        traffic = np.concatenate([b.traffic for b in self.batches])
        return np.lexsort((-traffic, calm))
