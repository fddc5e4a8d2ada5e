"""In-flight caps: the fast layer, one cap a priority class on each edge.

    N_s = C_s * (W_0 + tau)          tau = clip(W_0, 10 ms, objective / 4)         (Little's law)
    high    = N_s * share * 1.25
    default = clip((C_s - high arrivals) * (W_0 + tau), 5 % of N_s, N_s) * share

The proxy counts in flight by itself within microseconds, so a right cap holds the queue at tau while the loop
sleeps, is work-conserving, and needs no new value when capacity halves: the wait only doubles. `share` is the
edge's part of its callee's arrivals. Where capacity is unknown, N = X * objective / 2: if X is already all the
callee can do, the wait still stays within half the objective; if not, refused requests at base latency show it
and the cap grows.
"""

from __future__ import annotations

import math

import numpy as np

from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import Direction, Hypothesis, InFlightCap, Knob, Proposal, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

HEADROOM_HIGH = 1.25
DEAD_BAND = 0.2
GROWTH = 1.25
MIN_CAP = 4.0
MIN_RATE = 2.0


def wanted(s: Situation) -> tuple[Array, Array]:
    """Caps (default, high) per edge in requests, each (E,); NaN where nothing can be said."""
    callee = s.frame.index.edge_callee
    objective = s.policy.latency_s.astype(np.float64)
    belief, load = s.belief, s.load
    tau = np.clip(belief.path_latency, 0.01, objective / 4.0)
    stay = belief.path_latency + tau
    by_model = belief.capacity * stay
    blind = np.nan_to_num(load.completions) * objective / 2.0
    total = np.where(np.isfinite(by_model), by_model, np.where(blind > 0, blind, np.nan))
    urgent_high = _high_arrivals(s)
    rest = np.clip((belief.capacity - urgent_high) * stay, 0.05 * total, total)
    default = np.where(np.isfinite(rest), rest, total)
    share = np.clip(s.edge_share, 0.02, 1.0)
    quiet = ~(s.frame.edge.rate > MIN_RATE)
    low = np.where(quiet, np.nan, np.maximum(default[callee] * share, MIN_CAP))
    high = np.where(quiet, np.nan, np.maximum(total[callee] * share * HEADROOM_HIGH, MIN_CAP))
    return _grown(s, low, s.knobs.cap_default), _grown(s, high, s.knobs.cap_high)


def _high_arrivals(s: Situation) -> Array:
    """Requests/s of first-tier APIs that reach each service, (S,)."""
    if not len(s.frame.index.apis):
        return np.zeros(len(s.frame.index.services))
    first = s.policy.api_tier == 0
    spread = s.policy.api_tier.max() > s.policy.api_tier.min()
    offered = np.nan_to_num(s.frame.api.offered.astype(np.float64)) * first * spread
    return np.asarray(s.cost @ offered, np.float64)


def _grown(s: Situation, model: Array, current: np.ndarray) -> Array:
    """Where a cap refuses although the callee does not queue, the model is too low: grow from what is set."""
    callee = s.frame.index.edge_callee
    calm = ~s.belief.saturated[callee] & (s.load.own_latency < 1.3 * s.belief.base_latency)[callee]
    refused = s.frame.edge.overflow > 0.02 * np.maximum(s.frame.edge.rate, 1.0)
    grow = calm & refused & np.isfinite(current)
    return np.where(grow, np.fmax(model, current * GROWTH), model)


def propose(s: Situation) -> Batch:
    """A proposal for each edge whose caps differ from the law's by more than the dead band."""
    default, high = wanted(s)
    known = np.isfinite(default) & np.isfinite(high)
    rel_low = np.abs(np.round(default) / s.knobs.cap_default - 1.0)
    rel_high = np.abs(np.round(high) / s.knobs.cap_high - 1.0)
    moved = (rel_low > DEAD_BAND) | (rel_high > DEAD_BAND)
    unset = ~np.isfinite(s.knobs.cap_default) | ~np.isfinite(s.knobs.cap_high)
    active = s.policy.active(Knob.IN_FLIGHT_CAP)
    edges = np.flatnonzero(known & active & (moved | unset))
    now = s.knobs.cap_default[edges].astype(np.float64)
    missing = ~np.isfinite(now)
    tighten = missing | (np.round(default[edges]) < now)
    grown = ~tighten & (s.frame.edge.overflow[edges] > 0)
    saturated = s.belief.saturated[s.frame.index.edge_callee[edges]]
    return Batch.of(
        Knob.IN_FLIGHT_CAP,
        edges,
        lambda line: _proposal(s, line, float(default[line.row]), float(high[line.row])),
        direction=pick(tighten, Direction.TIGHTEN, Direction.LOOSEN),
        reason=pick(missing, Reason.CAP_MISSING, pick(grown, Reason.CAP_TOO_TIGHT, Reason.CAP_FOLLOWS_CAPACITY)),
        urgent=tighten & (saturated | missing),
        traffic=s.traffic_of(edges),
        confidence=s.frame.trust_of("edge.attempts", "edge.in_flight"),
    )


def _proposal(s: Situation, line: Line, default: float, high: float) -> Proposal:
    index, edge = s.frame.index, line.row
    callee = int(index.edge_callee[edge])
    now_low, now_high = float(s.knobs.cap_default[edge]), float(s.knobs.cap_high[edge])
    value = InFlightCap(round(default), round(high))
    capacity, stay = float(s.belief.capacity[callee]), float(s.belief.path_latency[callee])
    expected = min(line.traffic, capacity if math.isfinite(capacity) else math.inf)
    carried = f"{capacity:.0f} requests/s" if math.isfinite(capacity) else "an unknown rate"
    return Proposal(
        target=Target(TargetKind.EDGE, index.edges[edge]),
        knob=Knob.IN_FLIGHT_CAP,
        current=InFlightCap(_whole(now_low), _whole(now_high)),
        proposed=value,
        uncapped=value,
        direction=line.direction,
        reason=line.reason,
        summary=(
            f"{index.services[callee]} carries {carried} at {1000 * stay:.0f} ms: in flight "
            f"{_shown(now_low)} -> {value.default} (default), {_shown(now_high)} -> {value.high} (high)"
        ),
        evidence={
            "capacity_rps": capacity,
            "path_latency_s": stay,
            "arrivals_rps": float(s.load.arrivals[callee]),
            "overflow_rps": float(s.frame.edge.overflow[edge]),
            "utilisation": float(s.load.utilisation[callee]),
        },
        hypothesis=Hypothesis("goodput", 0.5 * min(expected, s.success(edge) * expected), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
        urgent=line.urgent,
    )


def _whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "none"
