"""In-flight caps: the fast layer, one cap a priority class on each edge.

    N_s = C_s * (W + tau)     tau = W_0 * clip(3 / sqrt(C_s W_0), .25, 1), at least 10 ms, within the reserve,
                                    and as much again for each call that a request makes further on
    high    = part of max(N_s, h + 6 sqrt(h))     h = high arrivals * (W + tau)
    default = part of clip((C_s - high arrivals) * (W + tau), 5 % of N_s, N_s)
    part of n = n * share + sqrt(n * share * (1 - share))

N_s is Little's law (W: seconds to an answer without a queue, W_0: its own part); tau is the shortest wait
that keeps all workers busy (square-root staffing). The reserve: with the caps full and `LOSS` of the capacity
gone, the mean stay is still `REACH` of the objective, or of the timeout of a try if that is shorter, so that
users get through until the next step; tau gives way to it down to `LEAST_WAIT` of W_0. The proxy counts in
flight by itself within microseconds, so a right cap holds the queue at tau while the loop sleeps. `share` is
the edge's part of what its callee is asked for. Where capacity is unknown, N = X * objective / 2: if X is
already all the callee can do, the wait still stays within half the objective; if not, refused requests at
base latency show it and the cap grows. A cap that refuses what a callee without a queue could carry is opened
at once.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.domain import FloatArray
from governor.knobs import Direction, Hypothesis, InFlightCap, Knob, Proposal, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

LOSS = 0.5
REACH = 0.6
LEAST_WAIT = 0.35
HIGH_BURST = 6.0
MAX_DEPTH = 8
DEAD_BAND = 0.2
HIGH_DEAD_BAND = 0.08
"""For more room for the high class: refusing it costs more than a write."""
KEEP = 2.0
"""Times the law's value up to which a cap is left as it is while the callee hardly queues."""
GROWTH = 1.5
REFUSED = 0.02
"""Share of requests refused from which a cap counts as too tight for a callee that does not queue."""
MIN_CAP = 4.0
MIN_RATE = 2.0


def wanted(s: Situation) -> tuple[Array, Array]:
    """Caps (default, high) per edge in requests, each (E,); NaN where nothing can be said."""
    callee = s.frame.index.edge_callee
    objective = s.policy.latency_s.astype(np.float64)
    belief, load = s.belief, s.load
    urgent_high = _high_arrivals(s)
    stay = belief.path_latency + _along_the_path(s, _wait(s, urgent_high))
    by_model = belief.capacity * stay
    blind = np.nan_to_num(load.completions) * objective / 2.0
    total = np.where(np.isfinite(by_model), by_model, np.where(blind > 0, blind, np.nan))
    rest = np.clip((belief.capacity - urgent_high) * stay, 0.05 * total, total)
    default = np.where(np.isfinite(rest), rest, total)
    share = np.clip(s.edge_share, 0.02, 1.0)
    quiet = ~(s.frame.edge.rate > MIN_RATE)
    low = np.where(quiet, np.nan, np.maximum(_part(default[callee], share), MIN_CAP))
    # The high class is bounded by what it asks for, so its cap may leave room for its bursts.
    asked = np.nan_to_num(urgent_high * stay)
    burst = np.fmax(total, asked + HIGH_BURST * np.sqrt(asked))
    high = np.where(quiet, np.nan, np.maximum(_part(burst[callee], share), MIN_CAP))
    needless = refuses_needlessly(s)
    guessed = ~np.isfinite(belief.capacity)[callee]
    return (
        _grown(low, s.knobs.cap_default, needless),
        _grown(high, s.knobs.cap_high, needless & guessed),
    )


def _part(whole: Array, share: Array) -> Array:
    """One edge's part of what may be in flight, and a standard deviation more, for edges do not peak together."""
    return np.asarray(whole * share + np.sqrt(whole * share * (1.0 - share)), np.float64)


def _wait(s: Situation, high: Array) -> Array:
    """(S,) tau, seconds: what keeps the service busy, less where a loss of capacity would break the objective."""
    belief, callee = s.belief, s.frame.index.edge_callee
    patience = np.full(len(belief.capacity), np.inf)
    tries = np.fmin(s.knobs.per_try_timeout, s.knobs.timeout).astype(np.float64)
    np.fmin.at(patience, callee, tries)
    reach = REACH * np.minimum(s.policy.latency_s.astype(np.float64), patience)
    # The default class fills its cap, (C - H)(W + tau); the high class fills what it asks for, or its own cap
    # as well: the stay is then the lesser of two multiples of W + tau.
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.clip(np.nan_to_num(high / belief.capacity), 0.0, 1.0)
        asked = np.where(part < 1.0 - LOSS, (1.0 - part) / (1.0 - LOSS - part), np.inf)
    reserve = reach / np.minimum(asked, (2.0 - part) / (1.0 - LOSS)) - belief.path_latency
    return np.maximum(np.clip(belief.slack, 0.01, reserve), np.maximum(LEAST_WAIT * belief.base_latency, 0.01))


def _along_the_path(s: Situation, wait: Array) -> Array:
    """(S,) seconds of wait for each request at a service and at all that it calls; cycles end at `MAX_DEPTH`."""
    index, edge = s.frame.index, s.frame.edge
    made = np.nan_to_num(s.load.completions)[index.edge_caller]
    calls = np.divide(np.nan_to_num(edge.attempts), made, out=np.zeros(len(made)), where=made > 0)
    own = np.nan_to_num(wait)
    below = np.zeros(len(own))
    for _ in range(MAX_DEPTH):
        each = calls * (own + below)[index.edge_callee]
        deeper = np.bincount(index.edge_caller, weights=each, minlength=len(own)).astype(np.float64)
        if np.allclose(deeper, below, rtol=0.01):
            break
        below = deeper
    return np.asarray(wait + below, np.float64)


def _high_arrivals(s: Situation) -> Array:
    """Requests/s of first-tier APIs that reach each service, (S,)."""
    if not len(s.frame.index.apis):
        return np.zeros(len(s.frame.index.services))
    first = s.policy.api_tier == 0
    spread = s.policy.api_tier.max() > s.policy.api_tier.min()
    offered = np.nan_to_num(s.frame.api.offered.astype(np.float64)) * first * spread
    return np.asarray(s.cost @ offered, np.float64)


def _grown(model: Array, current: FloatArray, needless: NDArray[np.bool_]) -> Array:
    """Where a cap refuses although the callee does not queue, the model is too low: grow from what is set."""
    return np.where(needless & np.isfinite(current), np.fmax(model, current * GROWTH), model)


def refuses_needlessly(s: Situation) -> NDArray[np.bool_]:
    """(E,) the cap turned requests away in a window in which the callee hardly queued."""
    refused = s.frame.edge.overflow > REFUSED * np.maximum(s.frame.edge.rate, 1.0)
    return np.asarray(s.belief.calm[s.frame.index.edge_callee] & refused, np.bool_)


def propose(s: Situation) -> Batch:
    """A proposal for each edge whose caps differ from the law's by more than the dead band."""
    default, high = wanted(s)
    known = np.isfinite(default) & np.isfinite(high)
    rel_low = np.round(default) / s.knobs.cap_default - 1.0
    rel_high = np.round(high) / s.knobs.cap_high - 1.0
    moved = (np.abs(rel_low) > DEAD_BAND) | (np.abs(rel_high) > DEAD_BAND) | (rel_high > HIGH_DEAD_BAND)
    lower = (rel_low <= 0) & (rel_high <= HIGH_DEAD_BAND)
    harmless = lower & s.belief.calm[s.frame.index.edge_callee] & (s.knobs.cap_default < KEEP * default)
    moved &= ~harmless
    unset = ~np.isfinite(s.knobs.cap_default) | ~np.isfinite(s.knobs.cap_high)
    active = s.policy.active(Knob.IN_FLIGHT_CAP)
    edges = np.flatnonzero(known & active & (moved | unset))
    now = s.knobs.cap_default[edges].astype(np.float64)
    missing = ~np.isfinite(now)
    tighten = missing | (np.round(default[edges]) < now)
    needless = ~tighten & refuses_needlessly(s)[edges]
    saturated = s.belief.saturated[s.frame.index.edge_callee[edges]]
    return Batch.of(
        Knob.IN_FLIGHT_CAP,
        edges,
        lambda line: _proposal(s, line, float(default[line.row]), float(high[line.row])),
        direction=pick(tighten, Direction.TIGHTEN, Direction.LOOSEN),
        reason=pick(
            missing, Reason.CAP_MISSING, pick(needless, Reason.CAP_TOO_TIGHT, Reason.CAP_FOLLOWS_CAPACITY)
        ),
        urgent=(tighten & (saturated | missing)) | needless,
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
