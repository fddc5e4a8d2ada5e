"""What the guard remembers of each knob: when it was last turned, which way, and how long a wish has stood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from governor.knobs import Direction, Knob, Proposal, Target

Key = tuple[Target, Knob]

FLAP_WINDOW = 10
FLAP_CHANGES = 3


@dataclass(frozen=True)
class Turned:
    """History of one knob on one target."""

    last_write: float = float("-inf")
    """Seconds since the epoch."""
    directions: tuple[int, ...] = ()
    """Signs of the last writes: +1 loosened, -1 tightened or shifted; at most `FLAP_WINDOW`."""
    wished: Direction | None = None
    """What the law asked for in the last cycle."""
    wished_for: int = 0
    """Cycles in a row with the same wish."""

    @property
    def flapping(self) -> bool:
        """Three changes of direction within the last ten writes."""
        pairs = zip(self.directions, self.directions[1:], strict=False)
        return sum(a != b for a, b in pairs) >= FLAP_CHANGES


@dataclass(frozen=True)
class GuardMemory:
    """Histories of all knobs that were ever wished for or written."""

    turned: Mapping[Key, Turned] = field(default_factory=dict)

    def of(self, target: Target, knob: Knob) -> Turned:
        """History of one knob; a fresh one if it was never touched."""
        return self.turned.get((target, knob), Turned())

    def with_wishes(self, proposals: tuple[Proposal, ...]) -> GuardMemory:
        """Count how long each wish has stood; a wish that is gone starts anew."""
        grown = dict(self.turned)
        asked = {(p.target, p.knob): p.direction for p in proposals}
        for key, old in self.turned.items():
            if key not in asked and old.wished is not None:
                grown[key] = replace(old, wished=None, wished_for=0)
        for key, direction in asked.items():
            old = grown.get(key, Turned())
            count = old.wished_for + 1 if old.wished is direction else 1
            grown[key] = replace(old, wished=direction, wished_for=count)
        return GuardMemory(grown)

    def with_write(self, target: Target, knob: Knob, direction: Direction, at: float) -> GuardMemory:
        """Note a write."""
        old = self.of(target, knob)
        signs = (*old.directions, 1 if direction is Direction.LOOSEN else -1)[-FLAP_WINDOW:]
        return GuardMemory({**self.turned, (target, knob): replace(old, last_write=at, directions=signs)})
