"""Each write registers a hypothesis; when it is due, the frame keeps it or undoes it. Unmeasurable means undo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from governor.domain import MeshFrame
from governor.knobs import Direction, Hypothesis, Receipt, Target, TargetKind
from governor.reasons import Reason


@dataclass(frozen=True)
class Pending:
    """A write whose effect is not judged yet."""

    decision: str
    """Id in the ledger."""
    receipt: Receipt
    hypothesis: Hypothesis
    direction: Direction
    written_at: float
    """Seconds since the epoch."""

    @property
    def due_at(self) -> float:
        """When the effect must be visible, seconds since the epoch."""
        return self.written_at + self.hypothesis.window_s


@dataclass(frozen=True)
class Verdict:
    """What became of one write."""

    pending: Pending
    reason: Reason
    measured: float
    """NaN where it could not be measured."""

    @property
    def keep(self) -> bool:
        """Whether the written value stays."""
        return self.reason is Reason.KEPT


def judge(pending: Sequence[Pending], frame: MeshFrame) -> tuple[Verdict, ...]:
    """Verdicts on all writes that are due at `frame.at`."""
    return tuple(_judge_one(p, frame) for p in pending if frame.at >= p.due_at)


def blind(pending: Sequence[Pending]) -> tuple[Verdict, ...]:
    """Verdicts when there has been no frame for too long: nothing can be measured, all is undone."""
    return tuple(Verdict(p, Reason.UNDONE_UNMEASURED, math.nan) for p in pending)


def _judge_one(pending: Pending, frame: MeshFrame) -> Verdict:
    value = measure(pending.hypothesis.metric, pending.receipt.target, frame)
    if math.isnan(value):
        return Verdict(pending, Reason.UNDONE_UNMEASURED, value)
    bound = pending.hypothesis.bound
    good = value <= bound if pending.hypothesis.metric == "attempts_ratio" else value >= bound
    return Verdict(pending, Reason.KEPT if good else Reason.UNDONE_FAILED, value)


def measure(metric: str, target: Target, frame: MeshFrame) -> float:
    """The metric of one target in this frame; NaN where it is unknown.

    Goodput is relative to demand: where less is asked for than was promised, answering all of it is enough, so
    a bound in requests/s is measured as the bound's metric only while demand is there.
    """
    if target.kind is TargetKind.API:
        at, table = frame.index.api_position.get(target.name), frame.api
        if at is None:
            return math.nan
        rate, errors, attempts = float(table.completed[at]), float(table.errors[at]), math.nan
        offered = float(table.offered[at])
    else:
        at, edge = frame.index.edge_position.get(target.name), frame.edge
        if at is None:
            return math.nan
        rate, errors, attempts = float(edge.rate[at]), float(edge.errors[at]), float(edge.attempts[at])
        offered = rate
    if metric == "success_rate":
        return max(0.0, 1.0 - errors / rate) if rate > 0 else (1.0 if offered == 0 else math.nan)
    if metric == "attempts_ratio":
        return attempts / rate if rate > 0 else math.nan
    good = rate - errors
    # Nothing was refused or lost: whatever the rate, the write did no harm.
    return math.inf if math.isfinite(good) and good >= 0.98 * offered else good
