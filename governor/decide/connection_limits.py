"""Connection limits: never the reason for a refusal before the in-flight cap is.

    max_connections >= 1.5 N          max_pending >= C tau         (N: in-flight caps of both classes together)

Over HTTP/1.1 each request in flight holds one connection, so a pool smaller than the cap refuses what the cap
would let through. Only looked at where a limit is set; the wider one is proposed, never a narrower.
Source: Envoy circuit breaking.
"""

from __future__ import annotations

import math

import numpy as np

from governor.decide import in_flight_cap
from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import ConnectionLimits, Direction, Hypothesis, Knob, Proposal, Target, TargetKind
from governor.proposals import Batch, Line
from governor.reasons import Reason


def wanted(s: Situation) -> tuple[Array, Array]:
    """Least (connections, pending) per edge, each (E,); NaN where the cap law knows nothing."""
    default, high = in_flight_cap.wanted(s)
    both = default + high
    return np.ceil(1.5 * both), np.ceil(0.5 * both)


def propose(s: Situation) -> Batch:
    """A proposal for each edge with a limit that bites before its in-flight cap."""
    if not (np.isfinite(s.knobs.max_connections) | np.isfinite(s.knobs.max_pending)).any():
        return Batch.none(Knob.CONNECTION_LIMITS)
    connections, pending = wanted(s)
    tight = (s.knobs.max_connections < connections) | (s.knobs.max_pending < pending)
    active = s.policy.active(Knob.CONNECTION_LIMITS)
    edges = np.flatnonzero(active & tight)
    return Batch.of(
        Knob.CONNECTION_LIMITS,
        edges,
        lambda line: _proposal(s, line, float(connections[line.row]), float(pending[line.row])),
        direction=Direction.LOOSEN,
        reason=Reason.POOL_LIMIT,
        traffic=s.traffic_of(edges),
        confidence=s.frame.trust_of("edge.in_flight"),
    )


def _proposal(s: Situation, line: Line, connections: float, pending: float) -> Proposal:
    def pair(first: float, second: float) -> ConnectionLimits:
        return ConnectionLimits(
            round(first) if math.isfinite(first) else None, round(second) if math.isfinite(second) else None
        )

    edge = line.row
    now, waiting = float(s.knobs.max_connections[edge]), float(s.knobs.max_pending[edge])
    current, value = pair(now, waiting), pair(max(now, connections), max(waiting, pending))
    name = s.frame.index.edges[edge]
    moves = [
        f"{what} {old} -> {new}"
        for what, old, new in (
            ("connections", current.max_connections, value.max_connections),
            ("pending requests", current.max_pending_requests, value.max_pending_requests),
        )
        if new != old
    ]
    return Proposal(
        target=Target(TargetKind.EDGE, name),
        knob=Knob.CONNECTION_LIMITS,
        current=current,
        proposed=value,
        uncapped=pair(connections, pending),
        direction=line.direction,
        reason=line.reason,
        summary=f"{name}: {', '.join(moves)} for what may be in flight",
        evidence={"in_flight": float(s.frame.edge.in_flight[edge])},
        hypothesis=Hypothesis("success_rate", max(0.0, s.success(edge) - 0.02), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
    )
