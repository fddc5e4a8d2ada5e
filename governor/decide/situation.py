"""What every law looks at: one frame, what is believed, what is set, what is wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governor.decide.backends import BackendEvidence, BackendVerdict
from governor.decide.capacity import CapacityBelief
from governor.decide.load import Array, ServiceLoad
from governor.decide.outlook import Outlook
from governor.domain import MeshFrame, MeshIndex
from governor.knobs import KnobState
from governor.policy_view import PolicyView


def shares(index: MeshIndex, weight: ArrayLike) -> Array:
    """(B,) weights as shares of each edge's sum; an even share where none is set."""
    pool, edges = index.backend_edge, len(index.edges)
    even = 1.0 / np.maximum(np.bincount(pool, minlength=edges)[pool], 1)
    given = np.asarray(weight, np.float64)
    if not np.isfinite(given).any():
        return np.asarray(even, np.float64)
    known = np.where(np.isfinite(given), given, even)
    total = np.bincount(pool, weights=known, minlength=edges)[pool]
    return np.asarray(known / np.where(total > 0, total, 1.0), np.float64)


@dataclass(frozen=True, eq=False)
class Situation:
    """Input of the laws; arrays line up with `frame.index`."""

    frame: MeshFrame
    knobs: KnobState
    policy: PolicyView
    load: ServiceLoad
    belief: CapacityBelief
    backends: BackendEvidence
    found: BackendVerdict
    """What that evidence says."""
    cost: Array
    """(S, A) attempts at each service for each request of each API."""
    period_s: float
    own_share: Array
    """(B,) of its edge's traffic for each backend as the operator has it, before the governor moved anything."""
    outlook: Outlook

    @property
    def callee_capacity(self) -> Array:
        """(E,) capacity of each edge's callee, requests/s."""
        return np.asarray(self.belief.capacity[self.frame.index.edge_callee], np.float64)

    @property
    def expected_load(self) -> Array:
        """(S,) requests/s that each service may be asked for soon: what it is asked for now, or more."""
        now = np.nan_to_num(self.load.arrivals) + np.nan_to_num(self.load.overflow)
        return np.asarray(now * self.outlook.growth, np.float64)

    @property
    def edge_share(self) -> Array:
        """(E,) share of what its callee is asked for that comes over each edge, 0..1.

        What a full cap refused counts: an edge that is held back must not lose its share by it.
        """
        callee, edge = self.frame.index.edge_callee, self.frame.edge
        attempts = np.nan_to_num(edge.attempts.astype(np.float64)) + np.nan_to_num(edge.overflow)
        total = np.bincount(callee, weights=attempts, minlength=len(self.frame.index.services))[callee]
        return np.where(total > 0, attempts / np.where(total > 0, total, 1.0), 0.0)

    @cached_property
    def share(self) -> Array:
        """(B,) of its edge's traffic for each backend as it is set now."""
        return shares(self.frame.index, self.knobs.weight)

    def traffic(self, edge: int) -> float:
        """Final answers/s on one edge; 0 where they are not known."""
        rate = float(self.frame.edge.rate[edge])
        return rate if math.isfinite(rate) else 0.0

    def traffic_of(self, edges: NDArray[np.intp]) -> Array:
        """`traffic` of several edges at once, in their order."""
        rate = self.frame.edge.rate[edges].astype(np.float64)
        return np.where(np.isfinite(rate), rate, 0.0)

    def success(self, edge: int) -> float:
        """Share of good final answers on one edge, 0..1; 1 where nothing was asked."""
        rate, errors = float(self.frame.edge.rate[edge]), float(self.frame.edge.errors[edge])
        return 1.0 if not rate > 0 else max(0.0, 1.0 - errors / rate)
