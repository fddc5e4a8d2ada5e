"""Policy bounds, largest steps and dead band on a proposed value; what the law wanted stays in `uncapped`."""

from __future__ import annotations

from dataclasses import astuple, replace

from governor.knobs import (
    BackendWeights,
    InFlightCap,
    KnobValue,
    Proposal,
    RateLimit,
    RetryPolicy,
    Timeout,
)
from governor.policy_view import KnobRule

FLAP_GAIN = 0.5
ROUNDING = 1e-6
"""What is set is read in single precision: closer than this share is equal."""


def bounded(proposal: Proposal, rule: KnobRule, *, flapping: bool) -> Proposal:
    """The proposal within minimum, maximum and step; an urgent cut may pass the step, never the bounds.

    A flapping knob moves half the way. Weights are not scaled: they are a whole that sums to 1.
    """
    value = _apply(proposal.proposed, proposal.current, rule, proposal.urgent, flapping)
    return proposal if value == proposal.proposed else replace(proposal, proposed=value)


def within_dead_band(proposal: Proposal, rule: KnobRule) -> bool:
    """No number moves by the dead band or more: of what is set, or of the edge's traffic where it is a weight.

    What is set for the first time or released moves, however small.
    """
    new, now = proposal.proposed, proposal.current
    if isinstance(new, BackendWeights) and isinstance(now, BackendWeights):
        was = dict(now.shares)
        return len(was) == len(new.shares) and all(
            _near(share, was.get(name), rule.dead_band, 1.0) for name, share in new.shares
        )
    pairs = zip(astuple(new), astuple(now), strict=True)
    return all(_near(after, before, rule.dead_band, before) for after, before in pairs)


def _near(new: float | None, old: float | None, dead_band: float, whole: float | None) -> bool:
    if new is None or old is None or whole is None:
        return new is old
    return new == old or abs(new - old) < max(dead_band - ROUNDING, ROUNDING) * whole


def _apply(value: KnobValue, now: KnobValue, rule: KnobRule, urgent: bool, flapping: bool) -> KnobValue:
    def number(new: float | None, old: float | None) -> float | None:
        if new is None:
            return None
        if old is not None and old > 0 and not urgent:
            new = old + FLAP_GAIN * (new - old) if flapping else new
            new = min(max(new, old * (1.0 - rule.step_down)), old * (1.0 + rule.step_up))
        return min(max(new, rule.minimum), rule.maximum)

    def whole(new: int | None, old: int | None) -> int | None:
        limited = number(new, old)
        return None if limited is None else _nearest_within(limited, rule)

    match value, now:
        case RateLimit(), RateLimit():
            return RateLimit(number(value.requests_per_second, now.requests_per_second))
        case InFlightCap(), InFlightCap():
            return InFlightCap(whole(value.default, now.default), whole(value.high, now.high))
        case RetryPolicy(), RetryPolicy():
            budget = None if value.budget is None else min(max(value.budget, rule.minimum), rule.maximum)
            return RetryPolicy(value.attempts, budget)
        case Timeout(), Timeout():
            return Timeout(number(value.request_s, now.request_s), value.per_try_s)
        case BackendWeights(), _:
            return _weights(value, rule)
        case _:
            return value


def _nearest_within(value: float, rule: KnobRule) -> int:
    """The nearest whole number, or its neighbour where rounding would leave the bounds."""
    nearest = round(value)
    if nearest < rule.minimum:
        return nearest + 1
    return nearest - 1 if nearest > rule.maximum else nearest


def _weights(value: BackendWeights, rule: KnobRule) -> BackendWeights:
    """Lift shares to the policy's floor (at most an even share); the others give in proportion, down to it."""
    floor = min(rule.minimum, 1.0 / max(len(value.shares), 1))
    lifted: set[str] = set()
    while True:
        rest = sum(share for name, share in value.shares if name not in lifted)
        scale = (1.0 - floor * len(lifted)) / rest if rest > 0 else 0.0
        below = {name for name, share in value.shares if name not in lifted and share * scale < floor}
        if not below:
            break
        lifted |= below
    found = ((name, floor if name in lifted else share * scale) for name, share in value.shares)
    return BackendWeights(tuple((name, round(share, 4)) for name, share in found))
