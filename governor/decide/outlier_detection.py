"""Outlier detection: eject as many hosts as the rest can stand for, and be able to eject one at all.

    max_ejection = min(1 - rho / rho_max, 1 - panic)      in whole hosts, none where one is too many
    consecutive_5xx = ceil(ln(requests a week) / ln(1 / p_0))       one false ejection a week at error share p_0

rho is the load that may come soon over capacity. While an edge is abnormal its error share is not p_0: it is
left alone. Envoy's default of 10 % ejects nobody from fewer than ten hosts. Only looked at where detection is on.
Source: Envoy, arch_overview/upstream/outlier.
"""

from __future__ import annotations

import math

import numpy as np

from governor.decide.load import Array
from governor.decide.situation import Situation
from governor.knobs import Direction, Hypothesis, Knob, OutlierDetection, Proposal, Target, TargetKind
from governor.proposals import Batch, Line, pick
from governor.reasons import Reason

RHO_MAX = 0.85
PANIC = 0.5
WEEK_S = 604800.0


def pool_size(s: Situation) -> Array:
    """Number of backends of each edge, (E,)."""
    edges = len(s.frame.index.edges)
    return np.bincount(s.frame.index.backend_edge, minlength=edges).astype(np.float64)


def largest_ejection(s: Situation) -> Array:
    """Largest share of each edge's pool that may be ejected, 0..1, (E,); NaN where capacity is unknown."""
    callee, hosts = s.frame.index.edge_callee, pool_size(s)
    with np.errstate(divide="ignore", invalid="ignore"):
        spare = 1.0 - (s.load.arrivals * s.outlook.growth / s.belief.capacity)[callee] / RHO_MAX
        whole = np.floor(np.clip(spare, 0.0, 1.0 - PANIC) * hosts) / hosts
    return np.where(hosts > 1, whole, np.nan)


def consecutive_failures(rate: float, error_share: float) -> int:
    """Failures in a row that healthy hosts show less than once a week at `rate` requests/s."""
    base = min(max(error_share, 0.001), 0.5)
    return max(3, math.ceil(math.log(max(rate * WEEK_S, math.e)) / math.log(1.0 / base)))


def propose(s: Situation) -> Batch:
    """A proposal for each edge whose ejection share is too wide, or so narrow that nobody can be ejected."""
    now = s.knobs.max_ejection.astype(np.float64)
    want, hosts = largest_ejection(s), pool_size(s)
    # A share that ejects nobody is not too wide, whatever the load.
    wide = (now > want + 0.01) & (now * hosts >= 1.0)
    idle = (now * hosts < 1.0) & (want * hosts >= 1.0)
    active = s.policy.active(Knob.OUTLIER_DETECTION) & ~s.outlook.abnormal
    edges = np.flatnonzero(active & (wide | idle))
    return Batch.of(
        Knob.OUTLIER_DETECTION,
        edges,
        lambda line: _proposal(s, line, float(want[line.row]), int(hosts[line.row])),
        direction=pick(wide[edges], Direction.TIGHTEN, Direction.LOOSEN),
        reason=pick(wide[edges], Reason.EJECTION_TOO_WIDE, Reason.EJECTION_INEFFECTIVE),
        traffic=np.nan_to_num(s.frame.edge.attempts[edges]),
        confidence=s.frame.trust_of("backend.rate"),
    )


def _proposal(s: Situation, line: Line, want: float, hosts: int) -> Proposal:
    edge, rate = line.row, line.traffic
    now, failures = float(s.knobs.max_ejection[edge]), float(s.knobs.consecutive_5xx[edge])
    row = consecutive_failures(rate, 1.0 - s.success(edge))
    name = s.frame.index.edges[edge]
    value = OutlierDetection(round(want, 3), row)
    return Proposal(
        target=Target(TargetKind.EDGE, name),
        knob=Knob.OUTLIER_DETECTION,
        current=OutlierDetection(now, round(failures) if math.isfinite(failures) else None),
        proposed=value,
        uncapped=value,
        direction=line.direction,
        reason=line.reason,
        summary=f"{name} has {hosts} hosts: largest ejection share {now:.0%} -> {want:.0%}",
        evidence={"hosts": float(hosts), "attempts_rps": rate, "success": s.success(edge)},
        hypothesis=Hypothesis("success_rate", max(0.0, s.success(edge) - 0.02), 2 * s.period_s),
        confidence=line.confidence,
        traffic=line.traffic,
    )
