"""Stable reason codes: why a change is proposed (1xx), why one is held (2xx), what became of it (3xx).

Codes are never reused or renumbered: users suppress and alert by them.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """One code and one sentence each."""

    OVERLOAD = ("GOV101", "demand is above what the callee can carry")
    CAP_MISSING = ("GOV102", "nothing bounds the requests in flight")
    CAP_FOLLOWS_CAPACITY = ("GOV103", "the cap no longer fits the callee's capacity")
    CAP_TOO_TIGHT = ("GOV104", "the cap refuses requests that the callee could carry")
    DEMAND_FITS = ("GOV105", "demand fits again, the limit is released by a ramp")
    BACKEND_SLOW = ("GOV111", "one backend is much slower than its peers")
    BACKEND_FAILING = ("GOV112", "one backend fails much more often than its peers")
    BACKEND_RECOVERED = ("GOV113", "the backend answers as its peers do again")
    RETRY_STORM = ("GOV121", "retries are feeding an overload")
    RETRY_BUDGET = ("GOV122", "retries could multiply load beyond capacity along the path")
    RETRY_RESTORED = ("GOV123", "retries are safe again, restored by one level")
    TIMEOUT_TOO_LONG = ("GOV131", "the timeout is far above what healthy answers need")
    TIMEOUT_TOO_SHORT = ("GOV132", "the timeout cuts off healthy answers")
    TIMEOUT_ORDER = ("GOV133", "the callee's timeout is not below its caller's")
    EJECTION_TOO_WIDE = ("GOV141", "ejecting that many hosts would overload the rest")
    EJECTION_INEFFECTIVE = ("GOV142", "the pool is so small that nothing can be ejected")
    POOL_LIMIT = ("GOV151", "connection limits do not fit the requests in flight")

    PAUSED = ("GOV201", "the governor is paused")
    STALE = ("GOV202", "the newest sample is too old")
    LOW_TRUST = ("GOV203", "the signals behind the change are not trusted enough")
    MODE_RECOMMEND = ("GOV204", "this knob is in recommend mode")
    MODE_OFF = ("GOV205", "this knob is off by policy")
    NOT_SELECTED = ("GOV206", "no policy selects this target")
    DEAD_BAND = ("GOV207", "the change is too small to be worth a write")
    COOL_DOWN = ("GOV208", "the last change of this knob is too recent")
    UNVERIFIED = ("GOV209", "the effect of the last change has not been seen yet")
    NOT_CLEAN = ("GOV210", "not enough clean windows yet to relax")
    BLAST_RADIUS = ("GOV211", "this cycle has already changed as much as it may")
    REFUSED = ("GOV212", "the control plane cannot express this")
    SUPPRESSED = ("GOV213", "suppressed by policy")
    FLAPPING = ("GOV214", "this knob changed direction three times in ten steps, its gain is halved")
    FREEZE = ("GOV215", "a freeze window is in force")
    VICTIM = ("GOV216", "the callee only waits for another service that explains the symptom")

    KEPT = ("GOV301", "the effect was as expected")
    UNDONE_FAILED = ("GOV302", "the effect was not as expected, the old value was restored")
    UNDONE_UNMEASURED = ("GOV303", "the effect could not be measured, the old value was restored")
    UNDONE_BY_HAND = ("GOV304", "undone on request")
    UNDONE_CRASH = ("GOV305", "the governor ended between write and record, the old value was restored")
    RESTORED_BLIND = ("GOV306", "blind for too long, the operator's baseline was restored")
    REJECTED = ("GOV307", "the data plane refused the write, the old value stays")
    SUPERSEDED = ("GOV308", "a later change replaced this one before it was judged")
    UNDONE_UNRECORDED = ("GOV309", "the write could not be recorded, the old value was restored")

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence


def reason_of(code: str) -> Reason:
    """The reason with this code; KeyError if there is none."""
    for reason in Reason:
        if reason.code == code:
            return reason
    raise KeyError(code)
