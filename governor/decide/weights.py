"""Backend weights: away from a backend that is slow or failing, back by steps when it looks as its peers do.

    faulty:  w = floor          floor = (1 - q) / 2 if slow, (1 - a) / (2 e) if failing, both within 0.1 .. 2 %
    good:    w = own / sum of own of the good * (1 - sum of floors)      own: the operator's share
    back:    by at most +10 % of the pool a step, no further than own

q is the quantile of the latency objective, a the availability objective, e the backend's share of errors: what
a floor still sends to a faulty backend must not cost the objective. It is the part of the pool that counts: a
proxy that balances by requests in flight sends more than its weight to a backend that fails at once. The floor
keeps evidence coming, so that a recovered backend is seen; where it is too little to judge by, the backend gets
2 % after a while. The move away is at once, the way back is by steps. When more than one backend and more than
30 % of a pool look faulty, or the rest could not carry the load, it is overload and not a faulty backend:
nothing is moved. Weights never follow latency as such: that law limit-cycles above about 75 % utilisation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import BackendWeights, Direction, Hypothesis, Knob, Proposal, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

STEP = 0.10
DEAD_BAND = 0.01
LEAST_SHARE = 0.001
MOST_FLOOR = 0.02
PATIENCE_S = 60.0
"""Seconds of evidence with too few requests to judge after which a backend gets the largest floor."""
FAULTY_SHARE = 0.30
CLEAN_WINDOWS = 4
RHO_MAX = 0.9


def floor_share(s: Situation) -> Array:
    """(B,) least share of a faulty backend, such that neither objective sees what it still gets."""
    callee, found = s.frame.index.edge_callee[s.frame.index.backend_edge], s.found
    slow = (1.0 - s.policy.quantile.astype(np.float64)[callee]) / 2.0
    spared = (1.0 - s.policy.availability.astype(np.float64)[callee]) / 2.0
    failing = np.where(
        found.error_share > 0, spared / np.where(found.error_share > 0, found.error_share, 1.0), 1.0
    )
    return np.clip(np.where(found.failing, np.minimum(slow, failing), slow), LEAST_SHARE, MOST_FLOOR)


def wanted(s: Situation) -> Array:
    """Shares (B,) that the law wants, summing to 1 on each edge."""
    pool, edges, found = s.frame.index.backend_edge, len(s.frame.index.edges), s.found
    now, own = s.share, s.own_share
    floor = floor_share(s)
    faulty = (found.slow | found.failing) & ~_overload(s)
    held = now < 0.5 * own
    ready = held & ~faulty & (s.backends.good_windows >= CLEAN_WINDOWS)
    starved = held & ~found.known & (s.backends.seconds >= PATIENCE_S)
    target = np.where(faulty, np.minimum(now, floor), np.where(held & ~ready, now, np.nan))
    target = np.where(starved, np.maximum(now, np.minimum(MOST_FLOOR, own)), target)
    target = np.where(ready, np.minimum(now + STEP, own), target)
    free = ~np.isfinite(target)
    fixed = np.bincount(pool, weights=np.nan_to_num(target), minlength=edges)[pool]
    among = np.bincount(pool, weights=np.where(free, own, 0.0), minlength=edges)[pool]
    shares = np.where(free, (1.0 - fixed) * own / np.where(among > 0, among, 1.0), target)
    total = np.bincount(pool, weights=shares, minlength=edges)[pool]
    return np.asarray(shares / np.where(total > 0, total, 1.0), np.float64)


def _overload(s: Situation) -> NDArray[np.bool_]:
    """(B,) pools where too much looks faulty, or where the rest could not carry the load."""
    index = s.frame.index
    pool, edges = index.backend_edge, len(index.edges)
    size = np.bincount(pool, minlength=edges)
    faulty = np.bincount(pool, weights=s.found.slow | s.found.failing, minlength=edges)
    share = faulty / np.maximum(size, 1)
    callee = index.edge_callee
    with np.errstate(divide="ignore", invalid="ignore"):
        left = (s.load.arrivals + s.load.overflow)[callee] / (s.belief.capacity[callee] * (1.0 - share))
    many = (faulty > 1) & (share > FAULTY_SHARE)
    return np.asarray((many | (left > RHO_MAX))[pool], np.bool_)


def propose(s: Situation) -> Batch:
    """A proposal for each edge on which a share moves by more than the dead band."""
    index = s.frame.index
    if not len(index.backends):
        return Batch.none(Knob.WEIGHTS)
    found, now, shares = s.found, s.share, wanted(s)
    moved = np.zeros(len(index.edges), np.bool_)
    moved[index.backend_edge[np.abs(shares - now) > DEAD_BAND]] = True
    active = s.policy.active(Knob.WEIGHTS) & (s.frame.edge.rate > 0)
    edges = np.flatnonzero(active & moved)
    cut = (found.slow | found.failing) & (shares < now - DEAD_BAND / 2)
    first = _first_moved(index.backend_edge, edges, shares - now, cut)
    away = cut[first]
    cause = pick(found.failing[first], Reason.BACKEND_FAILING, Reason.BACKEND_SLOW)
    speaks = dict(zip(edges.tolist(), first.tolist(), strict=True))
    return Batch.of(
        Knob.WEIGHTS,
        edges,
        lambda line: _proposal(s, line, speaks[line.row], shares, now),
        direction=pick(away, Direction.SHIFT, Direction.LOOSEN),
        reason=pick(~away, Reason.BACKEND_RECOVERED, cause),
        urgent=away,
        traffic=s.traffic_of(edges) * np.abs(shares[first] - now[first]),
        confidence=s.frame.trust_of("backend.rate", "backend.errors", "backend.in_flight"),
    )


def _first_moved(
    pool: NDArray[np.int32], edges: NDArray[np.intp], change: Array, cut: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """The backend that each of `edges` (sorted) is about: one that is cut, else one that gains; largest move."""
    members = np.flatnonzero(np.isin(pool, edges))
    rank = np.abs(change) + np.where(cut, 4.0, np.where(change > 0, 2.0, 0.0))
    order = np.lexsort((-rank[members], pool[members]))
    return members[order[np.searchsorted(pool[members][order], edges)]]


def _proposal(s: Situation, line: Line, first: int, shares: Array, now: Array) -> Proposal:
    index, edge, found = s.frame.index, line.row, s.found
    members = np.flatnonzero(index.backend_edge == edge)
    name = index.backends[first]
    latency, peers = float(found.latency[first]), float(found.pool_latency[first])
    if line.reason is Reason.BACKEND_FAILING:
        cause = f"fails {found.error_share[first]:.1%}, its peers {found.pool_errors[first]:.1%}"
    elif line.reason is Reason.BACKEND_SLOW:
        cause = f"takes {1000 * latency:.0f} ms, its peers {1000 * peers:.0f} ms"
    else:
        cause = f"takes {1000 * latency:.0f} ms as its peers do"
    value = BackendWeights(tuple((index.backends[b], round(float(shares[b]), 4)) for b in members))
    return Proposal(
        target=Target(TargetKind.EDGE, index.edges[edge]),
        knob=Knob.WEIGHTS,
        current=BackendWeights(tuple((index.backends[b], round(float(now[b]), 4)) for b in members)),
        proposed=value,
        uncapped=value,
        direction=line.direction,
        reason=line.reason,
        summary=f"{name} of {index.edges[edge]} {cause}: share {now[first]:.1%} -> {shares[first]:.1%}",
        evidence={
            "latency_s": latency,
            "pool_latency_s": peers,
            "error_share": float(found.error_share[first]),
            "pool_error_share": float(found.pool_errors[first]),
            "attempts": float(s.backends.attempts[first]),
        },
        hypothesis=Hypothesis("success_rate", max(0.0, s.success(edge) - 0.05), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
        urgent=line.urgent,
    )
