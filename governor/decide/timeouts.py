"""Timeouts: long enough for every healthy answer, not so long that the lost ones pile up.

    T = max(1.3 * p99.9, 2 * p99)   of healthy windows;   +-20 % a step;   callee's T below its caller's

Only proposed where the present value is far off (over four times T, under T, or not below its caller's), so
that a timeout does not wander with its latency. Frozen while the edge is not healthy, or abnormal for itself, and
never shortened under overload and never below T: a shorter timeout would turn late answers into errors and
retries. Where T is not below the caller's timeout, the caller's is what is too short, and the callee's is left
alone.
Source: Amazon Builders' Library, Timeouts, retries and backoff with jitter.
"""

from __future__ import annotations

import math

import numpy as np

from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import Direction, Hypothesis, Knob, Proposal, Target, TargetKind, Timeout
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

MARGIN = 1.3
STEP = 0.2
TOO_LONG = 4.0
RESOLUTION_S = 0.001
"""Timeouts are set in whole milliseconds, so closer than this is equal."""


def needed(s: Situation) -> Array:
    """Seconds that healthy answers need per edge, (E,); NaN where the edge is not healthy or not measured."""
    edge, callee = s.frame.edge, s.frame.index.edge_callee
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = edge.errors / edge.rate
    healthy = (errors < 0.01) & ~s.belief.saturated[callee] & (edge.rate * s.frame.window_s >= 1000)
    healthy &= ~s.outlook.abnormal
    value = np.fmax(MARGIN * edge.latency_p999, 2.0 * edge.latency_p99)
    return np.where(healthy, value, np.nan)


def propose(s: Situation) -> Batch:
    """A proposal for each edge whose timeout is far too long, too short, or not below its caller's."""
    need, now = needed(s), s.knobs.timeout.astype(np.float64)
    ceiling = _callers_timeout(s, now)
    long = now > TOO_LONG * need
    short = now < need - RESOLUTION_S
    disordered = (now >= ceiling) & (need < ceiling - RESOLUTION_S)
    active = s.policy.active(Knob.TIMEOUT)
    edges = np.flatnonzero(active & (long | short | disordered))
    other = pick(long[edges], Reason.TIMEOUT_TOO_LONG, Reason.TIMEOUT_ORDER)
    return Batch.of(
        Knob.TIMEOUT,
        edges,
        lambda line: _proposal(s, line, float(need[line.row]), float(ceiling[line.row])),
        direction=pick(short[edges], Direction.LOOSEN, Direction.TIGHTEN),
        reason=pick(short[edges], Reason.TIMEOUT_TOO_SHORT, other),
        traffic=s.traffic_of(edges),
        confidence=s.frame.trust_of("edge.latency_p99"),
    )


def _callers_timeout(s: Situation, now: Array) -> Array:
    """Shortest timeout of the edges into each edge's caller, seconds, (E,); inf at the entry."""
    index = s.frame.index
    least = np.full(len(index.services), np.inf)
    np.minimum.at(least, index.edge_callee, np.where(np.isfinite(now), now, np.inf))
    return least[index.edge_caller]


def _proposal(s: Situation, line: Line, need: float, ceiling: float) -> Proposal:
    edge = line.row
    now = float(s.knobs.timeout[edge])
    per_try = float(s.knobs.per_try_timeout[edge])
    if line.reason is Reason.TIMEOUT_TOO_SHORT:
        target = min(need, now * (1 + STEP))
    elif line.reason is Reason.TIMEOUT_TOO_LONG:
        target = max(2.0 * need, now * (1 - STEP))
    else:
        target = max(0.9 * ceiling, now * (1 - STEP), need)
    keep = per_try if math.isfinite(per_try) else None
    name = s.frame.index.edges[edge]
    return Proposal(
        target=Target(TargetKind.EDGE, name),
        knob=Knob.TIMEOUT,
        current=Timeout(now, keep),
        proposed=Timeout(round(target, 3), keep),
        uncapped=Timeout(round(2.0 * need if math.isfinite(need) else target, 3), keep),
        direction=line.direction,
        reason=line.reason,
        summary=(
            f"{name}: timeout {now:.3g} s -> {target:.3g} s, p99.9 is "
            f"{1000 * float(s.frame.edge.latency_p999[edge]):.0f} ms"
        ),
        evidence={
            "needed_s": need,
            "p99_s": float(s.frame.edge.latency_p99[edge]),
            "p999_s": float(s.frame.edge.latency_p999[edge]),
            "caller_timeout_s": ceiling,
        },
        hypothesis=Hypothesis("success_rate", max(0.0, s.success(edge) - 0.01), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
    )
