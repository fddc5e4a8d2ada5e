"""Rate limits: one for each API at the entry, by priority tier and weighted max-min within a tier.

    maximise lexicographically by tier, max-min within:  x_j <= D_j,   sum_j c_sj x_j <= rho C_s - Q_s / T_drain

D_j is the upper bound of demand, C_s the capacity belief, Q_s what already queues at s beyond its base latency
(Little's law), T_drain = max(period, 5 s). rho = 1 on the estimate where an in-flight cap guards the callee (the
cap holds the queue; the limit is there for fairness and against work that a later hop would refuse), else .9 on
the lower bound. A limit is cut to the solution at once; it is raised by at most a quarter a step, and once it is
half above demand it is released, so it never jumps to infinity.
Sources: TopFull (SIGCOMM'24) for clusters of APIs that share a bottleneck; Bertsekas & Gallager 6.5 for max-min.
"""

from __future__ import annotations

import math

import numpy as np

from governor.decide.allocation import Allocation, allocate
from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import Direction, Hypothesis, Knob, Proposal, RateLimit, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

RHO_CAPPED = 1.0
RHO_BARE = 0.9
STEP_UP = 1.25
RELEASE_AT = 1.5
BINDING = 0.97
"""A solution below this share of demand is a limit worth setting."""
DEAD_BAND = 0.05


def demand(s: Situation) -> Array:
    """Upper bound of each API's demand, requests/s, (A,): two standard errors of a Poisson count above."""
    offered = np.nan_to_num(s.frame.api.offered.astype(np.float64))
    return np.asarray(offered + 2.0 * np.sqrt(offered / max(s.frame.window_s, 1.0)), np.float64)


def budget(s: Situation) -> Array:
    """Requests/s that each service may be given, (S,); inf where capacity is unknown."""
    size = len(s.frame.index.services)
    uncapped = np.bincount(s.frame.index.edge_callee, weights=~np.isfinite(s.knobs.cap_default), minlength=size)
    guarded = uncapped == 0
    waiting = np.nan_to_num(s.load.completions * (s.load.own_latency - 2.0 * s.belief.base_latency))
    drain = np.where(s.belief.saturated, np.maximum(waiting, 0.0) / max(s.period_s, 5.0), 0.0)
    room = np.where(guarded, RHO_CAPPED * s.belief.capacity, RHO_BARE * s.belief.low) - drain
    return np.where(np.isfinite(s.belief.capacity), np.maximum(room, 0.05 * s.belief.capacity), np.inf)


def solve(s: Situation) -> tuple[Allocation, Array]:
    """The allocation, and the demand it was made for."""
    wanted = demand(s)
    room = budget(s)
    return allocate(wanted, s.cost, room, s.policy.api_tier, s.policy.api_share), wanted


def propose(s: Situation) -> Batch:
    """A proposal for each API whose limit should be set, moved or released."""
    if not len(s.frame.index.apis):
        return Batch.none(Knob.RATE_LIMIT)
    allocation, wanted = solve(s)
    active = s.policy.active(Knob.RATE_LIMIT) & np.isfinite(s.frame.api.offered)
    limit = s.knobs.limit.astype(np.float64)
    is_set = np.isfinite(limit)
    binding = (allocation.admitted < BINDING * wanted) & (wanted > 0)
    relax = np.minimum(np.where(binding, allocation.admitted, np.inf), limit * STEP_UP)
    target = np.where(binding & ~(is_set & (allocation.admitted > limit)), allocation.admitted, relax)
    release = is_set & ~binding & (limit > RELEASE_AT * wanted)
    target = np.where(release, np.inf, target)
    moved = np.abs(target / limit - 1.0) > DEAD_BAND
    chosen = active & ((binding & ~is_set) | (is_set & moved))
    apis = np.flatnonzero(chosen)
    tighten = ~is_set[apis] | (target[apis] < limit[apis])
    overloaded = tighten | (allocation.bottleneck[apis] >= 0)
    return Batch.of(
        Knob.RATE_LIMIT,
        apis,
        lambda line: _proposal(s, line, float(target[line.row]), allocation, float(wanted[line.row])),
        direction=pick(tighten, Direction.TIGHTEN, Direction.LOOSEN),
        reason=pick(overloaded, Reason.OVERLOAD, Reason.DEMAND_FITS),
        urgent=tighten,
        traffic=s.frame.api.offered[apis],
        confidence=s.frame.trust_of("api.offered", "edge.attempts"),
    )


def _proposal(s: Situation, line: Line, target: float, allocation: Allocation, wanted: float) -> Proposal:
    index, api = s.frame.index, line.row
    limit = float(s.knobs.limit[api])
    service = int(allocation.bottleneck[api])
    place = index.services[service] if service >= 0 else "nothing"
    capacity = float(s.belief.capacity[service]) if service >= 0 else math.inf
    if line.reason is Reason.OVERLOAD:
        cause = f"{place} carries {capacity:.0f} requests/s of all that ask"
    else:
        cause = "demand fits again"
    offered = float(s.frame.api.offered[api])
    return Proposal(
        target=Target(TargetKind.API, index.apis[api]),
        knob=Knob.RATE_LIMIT,
        current=RateLimit(limit if math.isfinite(limit) else None),
        proposed=RateLimit(round(target, 2) if math.isfinite(target) else None),
        uncapped=RateLimit(round(float(allocation.admitted[api]), 2)),
        direction=line.direction,
        reason=line.reason,
        summary=(
            f"{index.apis[api]} asks for {offered:.0f} requests/s: limit {_shown(limit)} -> "
            f"{_shown(target)}, because {cause}"
        ),
        evidence={
            "offered_rps": offered,
            "demand_high_rps": wanted,
            "allocated_rps": float(allocation.admitted[api]),
            "bottleneck_capacity_rps": capacity,
            "tier": float(s.policy.api_tier[api]),
        },
        hypothesis=Hypothesis("goodput", 0.4 * min(target, offered), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
        urgent=line.urgent,
    )


def _shown(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "none"
