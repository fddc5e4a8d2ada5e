"""Retries: a budget that cannot feed an overload, and none at all while one is on.

    b <= min(0.2, (rho_max / rho_high)^(1 / depth) - 1)        no metastability while rho (1 + b)^depth < 1
    storm: retries over half of all attempts, or time-outs with the callee saturated  ->  b = 0 at once
    after CLEAN clean windows: one level back: 0 -> 5 % -> 10 % -> 20 %

rho_high is the load that may come soon over the callee's capacity: as measured, or as forecast if that is more.
`depth` is the number of hops from the entry to the callee, so that budgets multiply to a bounded whole.
Sources: Bronson et al. and Huang et al. (OSDI'22) on metastable failures; Google SRE, Addressing Cascading
Failures.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.domain import MeshIndex
from governor.knobs import Direction, Hypothesis, Knob, Proposal, RetryPolicy, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

LEVELS = np.array([0.0, 0.05, 0.10, 0.20])
RHO_MAX = 0.95
STORM_SHARE = 0.5
MAX_DEPTH = 16


@lru_cache(maxsize=4)
def depth_of(index: MeshIndex) -> NDArray[np.int32]:
    """Hops from an entry of the mesh to each edge's callee, (E,), at least 1; cycles end at `MAX_DEPTH`.

    Cached by index.
    """
    called = np.bincount(index.edge_callee, minlength=len(index.services)) > 0
    depth = np.zeros(len(index.services), np.int32)
    for _ in range(MAX_DEPTH):
        grown = depth.copy()
        np.maximum.at(grown, index.edge_callee, depth[index.edge_caller] + 1)
        grown = np.minimum(np.where(called, grown, 0), MAX_DEPTH)
        if np.array_equal(grown, depth):
            break
        depth = grown
    return np.maximum(depth[index.edge_callee], 1).astype(np.int32)


def budget(s: Situation) -> Array:
    """Largest safe budget per edge, (E,), rounded down to a level; NaN where capacity is unknown."""
    callee = s.frame.index.edge_callee
    with np.errstate(divide="ignore", invalid="ignore"):
        load = s.expected_load[callee] / s.belief.capacity[callee]
        room = (RHO_MAX / np.maximum(load, 1e-6)) ** (1.0 / depth_of(s.frame.index)) - 1.0
    level = LEVELS[np.clip(np.searchsorted(LEVELS, np.clip(room, 0.0, 0.2) + 1e-9, "right") - 1, 0, 3)]
    return np.where(np.isfinite(room), level, np.nan)


def storm(s: Situation) -> NDArray[np.bool_]:
    """Edges on which retries feed an overload now, (E,)."""
    edge, callee = s.frame.edge, s.frame.index.edge_callee
    retrying = edge.retries > STORM_SHARE * np.maximum(edge.attempts, 1e-9)
    timing_out = (edge.timeouts > 0.2 * np.maximum(edge.attempts, 1e-9)) & s.belief.saturated[callee]
    return np.asarray((retrying | timing_out) & (edge.retries > 0), np.bool_)


def propose(s: Situation) -> Batch:
    """A proposal for each edge that retries and whose budget is not the law's."""
    edge = s.frame.edge
    used = (np.nan_to_num(s.knobs.attempts) > 0) | (edge.retries > 0)
    raging = storm(s)
    want = np.where(raging, 0.0, budget(s))
    now = s.knobs.retry_budget.astype(np.float64)
    unbounded = ~np.isfinite(now)
    rung = np.searchsorted(LEVELS, np.nan_to_num(now) + 1e-9, "right")
    restored = np.minimum(want, LEVELS[np.clip(rung, 0, 3)])
    target = np.where(unbounded | (want < now), want, restored)
    # Between two levels nothing moves for a load that wanders: a lower budget needs the higher to be unsafe.
    change = used & np.isfinite(target) & (unbounded | (np.abs(target - now) > 0.01))
    change &= s.policy.active(Knob.RETRIES)
    depth = depth_of(s.frame.index)
    edges = np.flatnonzero(change)
    tighten = unbounded[edges] | (target[edges] < now[edges])
    other = pick(tighten, Reason.RETRY_BUDGET, Reason.RETRY_RESTORED)
    return Batch.of(
        Knob.RETRIES,
        edges,
        lambda line: _proposal(s, line, float(target[line.row]), int(depth[line.row])),
        direction=pick(tighten, Direction.TIGHTEN, Direction.LOOSEN),
        reason=pick(raging[edges], Reason.RETRY_STORM, other),
        urgent=raging[edges] | (tighten & s.belief.saturated[s.frame.index.edge_callee[edges]]),
        traffic=s.traffic_of(edges),
        confidence=s.frame.trust_of("edge.attempts", "edge.retries"),
    )


def _proposal(s: Situation, line: Line, target: float, depth: int) -> Proposal:
    index, edge = s.frame.index, line.row
    now = float(s.knobs.retry_budget[edge])
    attempts = float(s.knobs.attempts[edge])
    count = round(attempts) if math.isfinite(attempts) else None
    callee = int(index.edge_callee[edge])
    rate = float(s.frame.edge.attempts[edge])
    share = float(s.frame.edge.retries[edge]) / rate if rate > 0 else 0.0
    shown = f"{now:.0%}" if math.isfinite(now) else "unbounded"
    return Proposal(
        target=Target(TargetKind.EDGE, index.edges[edge]),
        knob=Knob.RETRIES,
        current=RetryPolicy(count, now if math.isfinite(now) else None),
        proposed=RetryPolicy(count, target),
        uncapped=RetryPolicy(count, target),
        direction=line.direction,
        reason=line.reason,
        summary=(
            f"{share:.0%} of attempts on {index.edges[edge]} are retries, {index.services[callee]} carries "
            f"{s.belief.capacity[callee]:.0f} requests/s: retry budget {shown} -> {target:.0%}"
        ),
        evidence={
            "retry_share": share,
            "timeouts_rps": float(s.frame.edge.timeouts[edge]),
            "arrivals_rps": float(s.load.arrivals[callee]),
            "capacity_rps": float(s.belief.capacity[callee]),
            "depth": float(depth),
        },
        hypothesis=Hypothesis("success_rate", max(0.0, s.success(edge) - 0.1), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
        urgent=line.urgent,
    )
