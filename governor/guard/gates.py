"""The gates that can be told from columns alone, over a whole batch at once; and the words for each.

Each gate is one reason code; the first that holds wins. An urgent proposal protects users now: it passes
cool-down, verification and clean windows, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from governor.domain import MeshFrame
from governor.guard.memory import GuardMemory, Key, Standing
from governor.knobs import Direction, Knob, Proposal
from governor.policy_view import KnobRule, Mode, PolicyView, Rules
from governor.proposals import REASONS, Batch, Codes, Flags, Line, code
from governor.reasons import Reason

MIN_TRUST = 0.6
STALE_PERIODS = 2.0
SLACK = 0.1
"""Share of a period by which a write may be early: a schedule that fires early must not cost a whole period."""
PASSED = -1
"""In a column of gates: none holds."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """What the gates look at."""

    frame: MeshFrame
    policy: PolicyView
    memory: GuardMemory
    pending: Mapping[Key, float]
    """Writes whose effect was not judged yet, and when they are due."""
    refusal: Callable[[Proposal], str | None]
    """The control plane's word on whether it can express a proposal."""
    now: float
    period_s: float
    enforce: bool
    paused: bool
    victim: Flags
    """(E,) the edge's callee only waits for another service."""
    number: int = 0
    """The cycle's number: whose turn it is where more could go than one cycle looks at."""

    def standing(self, knob: Knob) -> Standing:
        """How `knob` stands on each row of the frame's index."""
        return self.memory.over(self.frame.index).standing[knob]

    def wait_s(self, rule: KnobRule, *, flapping: bool) -> float:
        """Seconds between two writes; twice as long for a knob that flaps."""
        return rule.cool_down_periods * self.period_s * (2.0 if flapping else 1.0)


class _Column:
    """The first gate that holds each proposal of a batch."""

    def __init__(self, size: int) -> None:
        self.codes: Codes = np.full(size, PASSED, np.int16)

    def hold(self, reason: Reason, where: Flags | np.bool_ | bool) -> None:
        self.codes[(self.codes == PASSED) & where] = code(reason)


def gates(batch: Batch, at: Conditions) -> Codes:
    """(P,) position in `REASONS` of the first gate that holds each proposal, `PASSED` where none does."""
    column = _Column(len(batch))
    governed_by = at.policy.rules_of(batch.knob)[batch.rows]
    column.hold(Reason.NOT_SELECTED, governed_by < 0)
    column.hold(Reason.STALE, at.frame.age_s > STALE_PERIODS * at.period_s)
    column.hold(Reason.LOW_TRUST, batch.confidence < MIN_TRUST)
    if batch.knob is not Knob.RATE_LIMIT:
        tighten = batch.direction == code(Direction.TIGHTEN)
        column.hold(Reason.VICTIM, tighten & ~batch.urgent & at.victim[batch.rows])
    for position, rules in enumerate(at.policy.rules):
        mine = governed_by == position
        _hold_by_policy(column, batch, mine, rules, at)
        _hold_by_time(column, batch, mine, rules.knob(batch.knob), at)
    return column.codes


def _hold_by_policy(column: _Column, batch: Batch, mine: Flags, rules: Rules, at: Conditions) -> None:
    mode = rules.knob(batch.knob).mode
    suppressed = [i for i, reason in enumerate(REASONS) if reason.code in rules.suppress]
    column.hold(Reason.MODE_OFF, mine & (mode is Mode.OFF))
    column.hold(Reason.SUPPRESSED, mine & np.isin(batch.reason, suppressed))
    column.hold(Reason.PAUSED, mine & at.paused)
    column.hold(Reason.FREEZE, mine & rules.frozen_at(at.now))
    column.hold(Reason.MODE_RECOMMEND, mine & (not at.enforce or mode is Mode.RECOMMEND))


def _hold_by_time(column: _Column, batch: Batch, mine: Flags, rule: KnobRule, at: Conditions) -> None:
    calm = mine & ~batch.urgent & (column.codes == PASSED)
    if not calm.any():
        return
    standing = at.standing(batch.knob)
    flapping = standing.flapping[batch.rows]
    wait = np.where(flapping, at.wait_s(rule, flapping=True), at.wait_s(rule, flapping=False))
    recent = at.now - standing.last_write[batch.rows] < wait - SLACK * at.period_s
    column.hold(Reason.FLAPPING, calm & recent & flapping)
    column.hold(Reason.COOL_DOWN, calm & recent)
    column.hold(Reason.UNVERIFIED, calm & np.isin(batch.rows, _pending_rows(batch.knob, at)))
    loosen = batch.direction == code(Direction.LOOSEN)
    column.hold(Reason.NOT_CLEAN, calm & loosen & (standing.wished_for[batch.rows] < rule.clean_periods))


def _pending_rows(knob: Knob, at: Conditions) -> list[int]:
    rows = [at.policy.position(target) for target, pending in at.pending if pending is knob]
    return [row for row in rows if row >= 0]


def words(  # noqa: PLR0911 - one return a gate reads best
    reason: Reason, line: Line, proposal: Proposal, rules: Rules, at: Conditions
) -> str:
    """The numbers behind a gate that holds one proposal; empty where the reason says it all."""
    knob, rule = proposal.knob, rules.knob(proposal.knob)
    match reason:
        case Reason.STALE:
            return f"newest sample is {at.frame.age_s:.0f} s old"
        case Reason.LOW_TRUST:
            return f"trust {line.confidence:.2f} < {MIN_TRUST}"
        case Reason.MODE_OFF | Reason.FREEZE:
            return f"policy {rules.name}"
        case Reason.SUPPRESSED:
            return f"policy {rules.name} suppresses {line.reason.code}"
        case Reason.MODE_RECOMMEND if not at.enforce:
            return "the governor runs in recommend mode"
        case Reason.MODE_RECOMMEND:
            return f"policy {rules.name}, {knob.value}"
        case Reason.COOL_DOWN | Reason.FLAPPING:
            return f"{at.wait_s(rule, flapping=reason is Reason.FLAPPING):.0f} s between writes"
        case Reason.UNVERIFIED:
            return f"due in {max(0.0, at.pending[proposal.target, knob] - at.now):.0f} s"
        case Reason.NOT_CLEAN:
            return f"{at.standing(knob).wished_for[line.row]} of {rule.clean_periods} windows"
        case _:
            return ""
