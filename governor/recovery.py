"""At the start: what an earlier process left open in the ledger is taken up again.

A governor that was killed between write and record left the mesh either before or after that write. The value
from before is written in both cases: a change that nobody can vouch for is undone. Writes that were recorded and
not judged yet are judged by the next frame, as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from governor.errors import ControlPlaneError, LedgerError
from governor.guard.memory import GuardMemory, Key, Written
from governor.knobs import (
    Direction,
    Hypothesis,
    Knob,
    KnobValue,
    Receipt,
    Target,
    TargetKind,
    value_from_json,
)
from governor.ports import ControlPlane, Entry, KeepsBaseline
from governor.reasons import Reason
from governor.record import Recorder
from governor.turn import GovernorState, Ports
from governor.verify.judge import Pending

REMEMBERED = 1000
"""Newest writes that are looked at."""
UNDONE = {
    reason.code
    for reason in (
        Reason.UNDONE_FAILED,
        Reason.UNDONE_UNMEASURED,
        Reason.UNDONE_BY_HAND,
        Reason.UNDONE_CRASH,
        Reason.UNDONE_UNRECORDED,
    )
}
"""Verdicts after which the value from before is in force."""


def recover(ports: Ports) -> tuple[GovernorState, tuple[str, ...]]:
    """The state to begin with, and what was put back, in words.

    Raises ControlPlaneError if a value cannot be put back, LedgerError if an entry does not hold what it must.
    """
    plane, now = ports.control_plane, ports.clock.now()
    if plane is None:
        return GovernorState(), ()
    record = Recorder(ports.ledger, 0, now)
    receipts = ports.ledger.entries(kind="receipt", limit=REMEMBERED)
    for intent in ports.ledger.open_intents():
        _close(intent, receipts, plane, record)
    if record.failure is not None:
        raise record.failure
    decisions = [ports.ledger.find(receipt.id) for receipt in reversed(receipts)]
    pending = tuple(p for entries in decisions if (p := _unjudged(entries)) is not None)
    writes = [Written((p.receipt.target, p.receipt.knob), p.direction, p.written_at) for p in pending]
    baseline = _baseline(decisions)
    if isinstance(plane, KeepsBaseline):
        # This process' own ledger may know less than the cluster, where another replica led before.
        baseline |= plane.baseline()
    return GovernorState(
        memory=GuardMemory().with_writes(writes), pending=pending, baseline=baseline
    ), record.notes


def _baseline(decisions: Sequence[Sequence[Entry]]) -> dict[Key, KnobValue]:
    """The operator's own values of what the governor has changed, from its decisions, oldest first.

    Where a write found another value than the one before it left, an operator has been there: theirs counts.
    """
    own: dict[Key, KnobValue] = {}
    left: dict[Key, KnobValue] = {}
    for entries in decisions:
        receipt = next(e for e in entries if e.kind == "receipt")
        key = target_of(receipt), Knob(receipt.knob)
        before, after = value_in(receipt, "before"), value_in(receipt, "after")
        if left.get(key) != before:
            own[key] = before
        undone = any(e.kind == "verdict" and e.code in UNDONE for e in entries)
        left[key] = before if undone else after
    return own


def _close(intent: Entry, receipts: Sequence[Entry], plane: ControlPlane, record: Recorder) -> None:
    target, knob = target_of(intent), Knob(intent.knob)
    later = [r for r in receipts if (r.target, r.knob) == (intent.target, intent.knob) and r.at > intent.at]
    if later:
        # The value from before is no longer the one to go back to.
        record.verdict(intent.id, target, knob, Reason.SUPERSEDED, {"by": later[-1].id})
        return
    try:
        plane.write(target, knob, value_in(intent, "before"))
    except ControlPlaneError as error:
        raise ControlPlaneError(
            f"decision {intent.id} was perhaps written and not recorded, and its value from before cannot be put "
            f"back: {error}. Put that right, or set another ledger.path to start without it"
        ) from error
    record.verdict(intent.id, target, knob, Reason.UNDONE_CRASH, {})
    record.note(f"{knob.value} of {target} was restored: decision {intent.id} has no receipt")


def _unjudged(entries: Sequence[Entry]) -> Pending | None:
    """The write of one decision if it has no verdict."""
    by_kind = {e.kind: e for e in entries}
    if "verdict" in by_kind or not {"intent", "receipt"} <= by_kind.keys():
        return None
    intent, receipt = by_kind["intent"], by_kind["receipt"]
    before, after = (value_in(receipt, name) for name in ("before", "after"))
    try:
        hypothesis = Hypothesis(**intent.body["hypothesis"])
        direction = Direction(intent.body["direction"])
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"{intent.id}: its intent does not say what must be seen: {error}") from error
    written = Receipt(target_of(receipt), Knob(receipt.knob), before, after)
    return Pending(receipt.id, written, hypothesis, direction, receipt.at)


def target_of(entry: Entry) -> Target:
    """Where the entry's knob sits."""
    kind, _, name = entry.target.partition("/")
    return Target(TargetKind(kind), name)


def value_in(entry: Entry, name: str) -> KnobValue:
    """The value called `name` in an entry's body; LedgerError if it is not there."""
    try:
        return value_from_json(Knob(entry.knob), entry.body[name])
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"{entry.id}: its {entry.kind} does not hold the value {name}: {error}") from error
