"""Which proposals go now, and which are held and why. Every gate is one reason code; the first that holds wins.

Order: pause and freeze, staleness, trust, policy (selected, suppressed, off), what the control plane can say,
bounds, recommend mode, cool-down, effect of the last change seen, clean windows, blast radius. An urgent
proposal protects users now: it passes cool-down, verification and clean windows, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from governor.domain import MeshFrame
from governor.guard.bounds import bounded
from governor.guard.memory import GuardMemory, Key
from governor.knobs import Direction, Proposal
from governor.policy_view import KnobRule, Mode, PolicyView, Rules
from governor.reasons import Reason

MIN_TRUST = 0.6
STALE_PERIODS = 2.0


@dataclass(frozen=True)
class Held:
    """A proposal that does not go now."""

    proposal: Proposal
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """What goes, in order, and what is held."""

    go: tuple[Proposal, ...] = ()
    held: tuple[Held, ...] = ()


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


def make_plan(proposals: Sequence[Proposal], at: Conditions) -> Plan:
    """Pass each proposal through the gates; protecting changes first, then by traffic."""
    go: list[Proposal] = []
    held: list[Held] = []
    budgets: dict[str, list[float]] = {}
    total = max(float(np.nansum(at.frame.api.offered)), float(np.nansum(at.frame.edge.rate)), 1e-9)
    for wished in sorted(proposals, key=lambda p: (not p.urgent, -p.traffic)):
        rules = at.policy.rules_for(wished.target)
        if rules is None:
            held.append(Held(wished, Reason.NOT_SELECTED))
            continue
        rule = rules.knob(wished.knob)
        flapping = at.memory.of(wished.target, wished.knob).flapping
        proposal = bounded(wished, rule, flapping=flapping)
        stopped = _gate(proposal, rules, rule, at) or _spend(proposal, rules, budgets, total)
        if stopped is None:
            go.append(proposal)
        else:
            held.append(Held(proposal, *stopped))
    return Plan(tuple(go), tuple(held))


def _gate(  # noqa: PLR0911 - one return a gate reads best
    p: Proposal, rules: Rules, rule: KnobRule, at: Conditions
) -> tuple[Reason, str] | None:
    if at.frame.age_s > STALE_PERIODS * at.period_s:
        return Reason.STALE, f"newest sample is {at.frame.age_s:.0f} s old"
    if p.confidence < MIN_TRUST:
        return Reason.LOW_TRUST, f"trust {p.confidence:.2f} < {MIN_TRUST}"
    if rule.mode is Mode.OFF:
        return Reason.MODE_OFF, f"policy {rules.name}"
    if p.reason.code in rules.suppress:
        return Reason.SUPPRESSED, f"policy {rules.name} suppresses {p.reason.code}"
    if p.proposed == p.current:
        return Reason.DEAD_BAND, "the bounds leave nothing to change"
    if (refused := at.refusal(p)) is not None:
        return Reason.REFUSED, refused
    return _mode(p, rules, rule, at) or _timing(p, rule, at)


def _mode(p: Proposal, rules: Rules, rule: KnobRule, at: Conditions) -> tuple[Reason, str] | None:
    if at.paused:
        return Reason.PAUSED, ""
    if rules.frozen_at(at.now):
        return Reason.FREEZE, f"policy {rules.name}"
    if not at.enforce:
        return Reason.MODE_RECOMMEND, "the governor runs in recommend mode"
    if rule.mode is Mode.RECOMMEND:
        return Reason.MODE_RECOMMEND, f"policy {rules.name}, {p.knob.value}"
    return None


def _timing(p: Proposal, rule: KnobRule, at: Conditions) -> tuple[Reason, str] | None:
    if p.urgent:
        return None
    past = at.memory.of(p.target, p.knob)
    wait = rule.cool_down_periods * at.period_s * (2.0 if past.flapping else 1.0)
    # A tenth of a period of slack: a schedule that fires a little early must not cost a whole period.
    if at.now - past.last_write < wait - 0.1 * at.period_s:
        return (Reason.FLAPPING if past.flapping else Reason.COOL_DOWN), f"{wait:.0f} s between writes"
    if (p.target, p.knob) in at.pending:
        return Reason.UNVERIFIED, f"due in {max(0.0, at.pending[p.target, p.knob] - at.now):.0f} s"
    if p.direction is Direction.LOOSEN and past.wished_for < rule.clean_periods:
        return Reason.NOT_CLEAN, f"{past.wished_for} of {rule.clean_periods} windows"
    return None


def _spend(p: Proposal, rules: Rules, budgets: dict[str, list[float]], total: float) -> tuple[Reason, str] | None:
    """Blast radius: writes of any kind are counted, traffic only where it is shifted."""
    radius = rules.blast_radius
    used = budgets.setdefault(rules.name, [0.0, 0.0])
    share = p.traffic / total if p.direction is Direction.SHIFT else 0.0
    if used[0] + 1 > radius.writes_per_cycle:
        return Reason.BLAST_RADIUS, f"{radius.writes_per_cycle} writes a cycle"
    if used[1] + share > radius.traffic_share:
        return Reason.BLAST_RADIUS, f"{radius.traffic_share:.0%} of traffic a cycle"
    used[0] += 1
    used[1] += share
    return None
