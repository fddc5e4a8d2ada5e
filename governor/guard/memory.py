"""What the guard remembers of each knob: when it was last turned, which way, and how long a wish has stood.

Writes are few and kept by name for good. Wishes are many, one for nearly every edge of a mesh that nobody has
tuned yet, so they are counted in arrays over the mesh's index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from governor.domain import MeshIndex
from governor.knobs import Direction, Knob, Target, TargetKind
from governor.proposals import Codes, Flags, Floats, Proposals

Key = tuple[Target, Knob]

FLAP_WINDOW = 10
FLAP_CHANGES = 3
NO_WISH = -1


class Written(NamedTuple):
    """One write, as the guard remembers it."""

    key: Key
    direction: Direction
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Turned:
    """Writes of one knob on one target."""

    last_write: float = float("-inf")
    """Seconds since the epoch."""
    directions: tuple[int, ...] = ()
    """Signs of the last writes: +1 loosened, -1 tightened or shifted; at most `FLAP_WINDOW`."""

    @property
    def flapping(self) -> bool:
        """Three changes of direction within the last ten writes."""
        pairs = zip(self.directions, self.directions[1:], strict=False)
        return sum(a != b for a, b in pairs) >= FLAP_CHANGES

    def again(self, direction: Direction, at: float) -> Turned:
        """With one more write."""
        sign = 1 if direction is Direction.LOOSEN else -1
        return Turned(at, (*self.directions, sign)[-FLAP_WINDOW:])


@dataclass(frozen=True, eq=False)
class Standing:
    """How one knob stands on each of its targets; arrays (N,) over the index's edges or APIs."""

    wished: Codes
    """What the law asked for in the last cycle: position in `DIRECTIONS`, `NO_WISH` if nothing."""
    wished_for: NDArray[np.int32]
    """Cycles in a row with the same wish."""
    last_write: Floats
    """Seconds since the epoch, -inf where there was none."""
    flapping: Flags

    @classmethod
    def fresh(cls, size: int) -> Standing:
        """Nothing wished for and nothing written."""
        return cls(
            np.full(size, NO_WISH, np.int16),
            np.zeros(size, np.int32),
            np.full(size, -np.inf),
            np.zeros(size, np.bool_),
        )

    def with_wishes(self, wished: Codes) -> Standing:
        """Count how long each wish has stood; one that is gone, or turns round, starts anew."""
        again = np.where(wished == self.wished, self.wished_for + 1, 1)
        count = np.where(wished == NO_WISH, 0, again).astype(np.int32)
        return Standing(wished, count, self.last_write, self.flapping)

    def with_writes(self, written: Mapping[int, Turned]) -> Standing:
        """The histories of some rows brought up to date."""
        last_write, flapping = self.last_write.copy(), self.flapping.copy()
        for row, turned in written.items():
            last_write[row], flapping[row] = turned.last_write, turned.flapping
        return Standing(self.wished, self.wished_for, last_write, flapping)


@dataclass(frozen=True, eq=False)
class GuardMemory:
    """Histories of all knobs that were ever written, and the wishes of the last cycles."""

    turned: Mapping[Key, Turned] = field(default_factory=dict)
    """By name, so that a target that is gone for a while keeps its history."""
    index: MeshIndex | None = None
    """What the arrays in `standing` run over."""
    standing: Mapping[Knob, Standing] = field(default_factory=dict)

    def of(self, target: Target, knob: Knob) -> Turned:
        """Writes of one knob; a fresh history if it was never written."""
        return self.turned.get((target, knob), Turned())

    def over(self, index: MeshIndex) -> GuardMemory:
        """The same memory lined up with `index`: wishes are carried over by name, those of gone targets end."""
        if self.index is index:
            return self
        if self.index is not None and self.index.same_names(index):
            return GuardMemory(self.turned, index, self.standing)
        carried = {}
        for kind in TargetKind:
            rows, olds = _common(self.index, index, kind)
            for knob in (k for k in Knob if k.sits_on is kind):
                fresh = Standing.fresh(len(_positions(index, kind)))
                if (old := self.standing.get(knob)) is not None:
                    fresh.wished[rows], fresh.wished_for[rows] = old.wished[olds], old.wished_for[olds]
                carried[knob] = fresh
        return GuardMemory(self.turned, index, _with_histories(carried, index, self.turned))

    def with_wishes(self, proposals: Proposals, index: MeshIndex) -> GuardMemory:
        """One more cycle in which the laws asked for `proposals`, which run over `index`."""
        here = self.over(index)
        wished = {knob: np.full(len(s.wished), NO_WISH, np.int16) for knob, s in here.standing.items()}
        for batch in proposals.batches:
            wished[batch.knob][batch.rows] = batch.direction
        standing = {knob: s.with_wishes(wished[knob]) for knob, s in here.standing.items()}
        return GuardMemory(here.turned, index, standing)

    def with_writes(self, writes: Sequence[Written]) -> GuardMemory:
        """Note what was written in one cycle."""
        if not writes:
            return self
        fresh: dict[Key, Turned] = {}
        for key, direction, at in writes:
            fresh[key] = (fresh.get(key) or self.of(*key)).again(direction, at)
        standing = self.standing if self.index is None else _with_histories(self.standing, self.index, fresh)
        return GuardMemory({**self.turned, **fresh}, self.index, standing)


def _positions(index: MeshIndex, kind: TargetKind) -> Mapping[str, int]:
    return index.api_position if kind is TargetKind.API else index.edge_position


def _common(old: MeshIndex | None, new: MeshIndex, kind: TargetKind) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions in `new`, and those in `old`, of the names that are in both."""
    if old is None:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    before = _positions(old, kind)
    pairs = [(i, before[name]) for name, i in _positions(new, kind).items() if name in before]
    both = np.array(pairs, np.intp).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _with_histories(
    standing: Mapping[Knob, Standing], index: MeshIndex, turned: Mapping[Key, Turned]
) -> dict[Knob, Standing]:
    """`standing` with the writes in `turned` in their rows; targets that `index` does not name are left out."""
    rows: dict[Knob, dict[int, Turned]] = {}
    for (target, knob), history in turned.items():
        at = _positions(index, target.kind).get(target.name)
        if at is not None and target.kind is knob.sits_on:
            rows.setdefault(knob, {})[at] = history
    return {knob: s.with_writes(rows[knob]) if knob in rows else s for knob, s in standing.items()}
