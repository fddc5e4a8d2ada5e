"""What the policies say about one mesh, lined up with its index, so that the laws can be vectorised.

`policy.resolve` makes it from GovernorPolicy documents; the stages read only this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray, IntArray
from governor.knobs import Knob, Target, TargetKind


class Mode(StrEnum):
    """How far the governor may go with one knob."""

    OFF = "off"
    RECOMMEND = "recommend"
    ENFORCE = "enforce"


@dataclass(frozen=True)
class KnobRule:
    """How far, how fast and how often one knob may be turned."""

    mode: Mode = Mode.RECOMMEND
    minimum: float = 0.0
    """Smallest value, in the knob's own unit (requests/s, requests in flight, share, seconds)."""
    maximum: float = float("inf")
    """Largest value."""
    dead_band: float = 0.05
    """Change below which nothing is written: of what is set, or for weights of the edge's traffic."""
    step_up: float = 0.25
    """Largest relative raise in one step."""
    step_down: float = 0.5
    """Largest relative cut in one step, unless urgent."""
    cool_down_periods: int = 2
    """Periods between two writes of the same knob on the same target, unless urgent."""
    clean_periods: int = 2
    """Clean windows before a relaxing change."""


@dataclass(frozen=True)
class BlastRadius:
    """How much one cycle may change."""

    writes_per_cycle: int = 20
    traffic_share: float = 0.5
    """Largest share of the mesh's requests that shifting changes may touch in one cycle."""


@dataclass(frozen=True)
class Rules:
    """One policy as the guard reads it."""

    name: str
    knobs: Mapping[Knob, KnobRule]
    blast_radius: BlastRadius = BlastRadius()
    suppress: frozenset[str] = frozenset()
    """Reason codes that the user does not want to act on."""
    freeze: tuple[tuple[float, float], ...] = ()
    """Times (from, to; seconds since the epoch) in which nothing is written."""

    def frozen_at(self, at: float) -> bool:
        """Whether a freeze window is in force at `at`, seconds since the epoch."""
        return any(start <= at < end for start, end in self.freeze)

    def knob(self, knob: Knob) -> KnobRule:
        """The rule of `knob`; a knob that the policy does not name is off."""
        return self.knobs.get(knob, KnobRule(mode=Mode.OFF))


@dataclass(frozen=True, eq=False)
class PolicyView:
    """Objectives as arrays and rules by target, over one `MeshIndex`."""

    availability: FloatArray
    """(S,) least share of good answers of each callee, 0..1."""
    latency_s: FloatArray
    """(S,) latency objective of requests to each callee, seconds."""
    quantile: FloatArray
    """(S,) quantile that the latency objective holds for, 0..1."""
    api_tier: IntArray
    """(A,) 0 is served first."""
    api_share: FloatArray
    """(A,) weight within the tier, > 0."""
    api_latency_s: FloatArray
    """(A,) latency objective of the whole request, seconds."""
    rules: tuple[Rules, ...]
    edge_rules: IntArray
    """(E,) position in `rules`, -1 where no policy selects the edge."""
    api_rules: IntArray
    """(A,) position in `rules`, -1 where no policy selects the API."""
    edge_position: Mapping[str, int]
    api_position: Mapping[str, int]

    def rules_for(self, target: Target) -> Rules | None:
        """The policy that governs `target`, or None."""
        at = self.position(target)
        table = self.api_rules if target.kind is TargetKind.API else self.edge_rules
        chosen = int(table[at]) if at >= 0 else -1
        return self.rules[chosen] if chosen >= 0 else None

    def position(self, target: Target) -> int:
        """Position of `target` in the index's edges or APIs, -1 if it is not there."""
        known = self.api_position if target.kind is TargetKind.API else self.edge_position
        return known.get(target.name, -1)

    def active(self, knob: Knob) -> NDArray[np.bool_]:
        """(E,) or, for rate limits, (A,): where `knob` is not off."""
        return self._where(knob, lambda mode: mode is not Mode.OFF)

    def enforced(self, knob: Knob) -> NDArray[np.bool_]:
        """(E,) or, for rate limits, (A,): where `knob` may be written."""
        return self._where(knob, lambda mode: mode is Mode.ENFORCE)

    def _where(self, knob: Knob, holds: Callable[[Mode], bool]) -> NDArray[np.bool_]:
        on = np.array([holds(r.knob(knob).mode) for r in self.rules] + [False])
        return on[self.rules_of(knob)]

    def rules_of(self, knob: Knob) -> IntArray:
        """(E,) or, for rate limits, (A,): position in `rules` of the policy that governs each target, or -1."""
        return self.api_rules if knob.sits_on is TargetKind.API else self.edge_rules
