"""Rate limits: one for each API at the entry, by priority tier and weighted max-min within a tier.

    maximise lexicographically by tier, max-min within:  x_j <= D_j,   sum_j c_sj x_j <= B_s - E_s / T_drain

    B_s = 1.04 C_s      where an in-flight cap guards every edge into s, and D_j is what is offered
    B_s = 0.9 C_s,low   elsewhere, and D_j is an upper bound of what is offered

E_s is what waits at s although its callers have gone, as after a storm, and T_drain = max(period, 5 s). Where
caps guard the path they hold the queue to the request, which a rate cannot; a limit is then set only for what
no cap can do: stop work that a later hop would refuse, share out a bottleneck among APIs of one tier, empty a
queue of the dead. It is a little above the allocation, so that an error of some percent in C_s never idles
the service. A limit is cut to the solution at once. It is raised at once where caps guard the path, else by
at most a quarter a step, and released in two steps, so it never jumps to infinity.
Sources: TopFull (SIGCOMM'24) for clusters of APIs that share a bottleneck; Bertsekas & Gallager 6.5 for max-min.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.decide.allocation import Allocation, allocate
from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import Direction, Hypothesis, Knob, Proposal, RateLimit, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

RHO_CAPPED = 1.04
RHO_BARE = 0.9
STEP_UP = 1.25
BY_ITSELF_S = 1.0
LOOSE = 1.5
"""Times the demand: where a limit that is no longer needed goes before it is taken off."""
RELEASE_AT = 1.3
"""Times the demand from which a limit that is not needed is taken off."""
BINDING = 0.97
"""A solution below this share of demand is a limit worth setting."""
DEAD_BAND = 0.05
REFUSED = 0.05
"""Share of an API's requests that a limit refuses without need from which raising it cannot wait."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What the law wants, over A APIs."""

    allocation: Allocation
    demand: Array
    """(A,) requests/s, as the allocation was asked for it."""
    guarded: NDArray[np.bool_]
    """(A,) in-flight caps are in force on every edge into every service that the API uses."""
    needed: NDArray[np.bool_]
    """(A,) the allocation is below demand, and a limit does what caps cannot."""


def guarded_services(s: Situation) -> NDArray[np.bool_]:
    """(S,) services behind a cap on every edge into them."""
    size = len(s.frame.index.services)
    bare = np.bincount(s.frame.index.edge_callee, weights=~np.isfinite(s.knobs.cap_default), minlength=size)
    return np.asarray(bare == 0, np.bool_)


def demand(s: Situation, guarded: NDArray[np.bool_]) -> Array:
    """Demand of each API, requests/s, (A,): what is offered; more where no cap guards.

    There it is two standard errors more, or as much more as the forecast says may come where it enters.
    """
    offered = np.nan_to_num(s.frame.api.offered.astype(np.float64))
    margin = 2.0 * np.sqrt(offered / max(s.frame.window_s, 1.0))
    entry = s.frame.index.edge_callee[s.frame.index.api_edge]
    upper = np.maximum(offered + margin, offered * s.outlook.growth[entry])
    return np.where(guarded, offered, upper)


def backlog(s: Situation) -> Array:
    """(S,) requests at a service whose callers have gone: what is there, less what callers still wait for.

    What it works off in `BY_ITSELF_S` needs no help: the caps let in less than it completes.
    """
    belief, load = s.belief, s.load
    there = np.nan_to_num(belief.queued + load.completions * belief.base_latency)
    dead = there - np.nan_to_num(load.in_flight)
    return np.asarray(np.maximum(dead - BY_ITSELF_S * np.nan_to_num(belief.capacity), 0.0), np.float64)


def budget(s: Situation, guarded: NDArray[np.bool_], dead: Array) -> Array:
    """Requests/s that each service may be given, (S,); inf where capacity is unknown.

    `guarded` (S,): behind a cap on every edge into it; `dead` (S,): its backlog.
    """
    room = np.where(guarded, RHO_CAPPED * s.belief.capacity, RHO_BARE * s.belief.low)
    room = room - dead / max(s.period_s, 5.0)
    return np.where(np.isfinite(s.belief.capacity), np.maximum(room, 0.05 * s.belief.capacity), np.inf)


def solve(s: Situation) -> Solution:
    """The allocation, what it was made for, and which APIs need a limit for it."""
    uses, behind_caps, dead = s.cost > 0, guarded_services(s), backlog(s)
    guarded = np.asarray(~(uses & ~behind_caps[:, None]).any(axis=0), np.bool_)
    wanted = demand(s, guarded)
    room = budget(s, behind_caps, dead)
    found = allocate(wanted, s.cost, room, s.policy.api_tier, s.policy.api_share)
    binding = (found.admitted < BINDING * wanted) & (wanted > 0)
    # The lower bound says how far to cut; whether to cut at all, the estimate says.
    offered = np.nan_to_num(s.frame.api.offered.astype(np.float64))
    overfull = (s.cost @ offered > RHO_BARE * s.belief.capacity) | s.belief.saturated
    bare = ~guarded & overfull[np.maximum(found.bottleneck, 0)]
    needed = binding & (bare | (guarded & _beyond_caps(s, found, uses, dead > 0)))
    return Solution(found, wanted, guarded, np.asarray(needed, np.bool_))


def _beyond_caps(
    s: Situation, found: Allocation, uses: NDArray[np.bool_], drains: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(A,) the bottleneck lies behind the entry, is shared within the tier, or (S,) `drains` a backlog."""
    index, tier = s.frame.index, s.policy.api_tier
    at = np.maximum(found.bottleneck, 0)
    behind = index.edge_callee[index.api_edge] != at
    asked = uses & (s.frame.api.offered > 0)
    shared = np.zeros(len(at), np.bool_)
    for level in np.unique(tier):
        members = tier == level
        shared[members] = asked[:, members].sum(axis=1)[at[members]] > 1
    return np.asarray((found.bottleneck >= 0) & (behind | shared | drains[at]), np.bool_)


def propose(s: Situation) -> Batch:
    """A proposal for each API whose limit should be set, moved or released."""
    if not len(s.frame.index.apis):
        return Batch.none(Knob.RATE_LIMIT)
    found = solve(s)
    active = s.policy.active(Knob.RATE_LIMIT) & np.isfinite(s.frame.api.offered)
    limit = s.knobs.limit.astype(np.float64)
    is_set = np.isfinite(limit)
    highest = np.where(is_set & ~found.guarded, limit * STEP_UP, np.inf)
    target = np.minimum(np.where(found.needed, found.allocation.admitted, LOOSE * found.demand), highest)
    target = np.where(is_set & ~found.needed & (limit > RELEASE_AT * found.demand), np.inf, target)
    moved = np.abs(target / limit - 1.0) > DEAD_BAND
    apis = np.flatnonzero(active & ((found.needed & ~is_set) | (is_set & moved)))
    tighten = ~is_set[apis] | (target[apis] < limit[apis])
    overloaded = tighten | (found.allocation.bottleneck[apis] >= 0)
    offered = s.frame.api.offered[apis].astype(np.float64)
    needless = found.guarded[apis] & (s.frame.api.limited[apis] > REFUSED * offered)
    return Batch.of(
        Knob.RATE_LIMIT,
        apis,
        lambda line: _proposal(s, line, float(target[line.row]), found),
        direction=pick(tighten, Direction.TIGHTEN, Direction.LOOSEN),
        reason=pick(overloaded, Reason.OVERLOAD, Reason.DEMAND_FITS),
        urgent=tighten | needless,
        traffic=offered,
        confidence=s.frame.trust_of("api.offered", "edge.attempts"),
    )


def _proposal(s: Situation, line: Line, target: float, found: Solution) -> Proposal:
    index, api, allocation = s.frame.index, line.row, found.allocation
    limit = float(s.knobs.limit[api])
    service = int(allocation.bottleneck[api])
    place = index.services[service] if service >= 0 else "nothing"
    capacity = float(s.belief.capacity[service]) if service >= 0 else math.inf
    if line.reason is Reason.OVERLOAD:
        cause = f"{place} carries {capacity:.0f} requests/s of all that ask"
    else:
        cause = "demand fits again"
    offered = float(s.frame.api.offered[api])
    good = max(0.0, float(np.nan_to_num(s.frame.api.completed[api] - s.frame.api.errors[api])))
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
            "demand_rps": float(found.demand[api]),
            "allocated_rps": float(allocation.admitted[api]),
            "bottleneck_capacity_rps": capacity,
            "tier": float(s.policy.api_tier[api]),
        },
        hypothesis=Hypothesis("goodput", 0.5 * min(target, good), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
        urgent=line.urgent,
    )


def _shown(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "none"
