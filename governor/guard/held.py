"""What the guard held back: all of it counted, each one made into a whole proposal only when looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np

from governor.knobs import Knob, Proposal
from governor.proposals import REASONS, Codes, Proposals, Rows
from governor.reasons import Reason


@dataclass(frozen=True)
class Held:
    """A proposal that does not go now."""

    proposal: Proposal
    reason: Reason
    detail: str = ""


class HeldKind(NamedTuple):
    """What held proposals are counted by."""

    knob: Knob
    reason: Reason
    """Why the change was proposed."""
    gate: Reason
    """Why it was held."""


@dataclass(frozen=True, eq=False)
class HeldBack(Sequence[Held]):
    """Held proposals, most protecting first. `len` and `counts` build nothing."""

    proposals: Proposals
    gates: Codes
    """(P,) for every proposal of the cycle: position in `REASONS` of what holds it; only read at `order`."""
    order: Rows
    """(H,) positions in `proposals` of those that are held."""
    build: Callable[[int, Reason], Held]
    """Makes whole the proposal at one position in `proposals` that one gate holds."""
    first: tuple[Held, ...] = ()
    """Held for another reason after all gates had let them go: refused by the data plane."""

    def __len__(self) -> int:
        return len(self.first) + len(self.order)

    @overload
    def __getitem__(self, at: int) -> Held: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Held, ...]: ...
    def __getitem__(self, at: int | slice) -> Held | tuple[Held, ...]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        position = at + len(self) if at < 0 else at
        if not 0 <= position < len(self):
            raise IndexError(f"held proposal {at} of {len(self)}")
        if position < len(self.first):
            return self.first[position]
        place = int(self.order[position - len(self.first)])
        return self.build(place, REASONS[self.gates[place]])

    def counts(self) -> Mapping[HeldKind, int]:
        """How many are held, by knob, reason and gate.

        Counted by the gate that held the columns. One that is looked at may turn out to be within its bounds
        already, or beyond what the control plane can say, which is only known once it is built.
        """
        found: Counter[HeldKind] = Counter(
            HeldKind(h.proposal.knob, h.proposal.reason, h.reason) for h in self.first
        )
        held = np.zeros(len(self.proposals), np.bool_)
        held[self.order] = True
        for batch, place in self.proposals.pieces():
            kinds = batch.reason.astype(np.int64) * len(REASONS) + self.gates[place]
            for kind, number in zip(*np.unique(kinds[held[place]], return_counts=True), strict=True):
                reason, gate = divmod(int(kind), len(REASONS))
                found[HeldKind(batch.knob, REASONS[reason], REASONS[gate])] += int(number)
        return found

    def also(self, held: Sequence[Held]) -> HeldBack:
        """With some more, which come first."""
        return HeldBack(self.proposals, self.gates, self.order, self.build, (*held, *self.first))
