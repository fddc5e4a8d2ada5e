"""Putting one written value back by hand."""

from __future__ import annotations

from collections.abc import Sequence

from governor.errors import LedgerError
from governor.explain.values import in_words
from governor.knobs import Knob
from governor.ports import ControlPlane, Entry, Ledger
from governor.reasons import Reason
from governor.recovery import target_of, value_in


def put_back(entries: Sequence[Entry], plane: ControlPlane, ledger: Ledger, at: float) -> str:
    """Write the value from before the decision in `entries`, record it, and say so.

    The wish is recorded first: if the process dies in between, the ledger shows what was under way.
    Raises LedgerError if nothing was written under this decision, and what the control plane raises.
    """
    receipt = next((e for e in reversed(entries) if e.kind == "receipt"), None)
    if receipt is None:
        raise LedgerError(f"{entries[0].id}: nothing was written under this decision, so nothing can be undone")
    target, knob, before = target_of(receipt), Knob(receipt.knob), value_in(receipt, "before")
    ledger.append([_entry(receipt, "note", at, f"Undo asked for: {target} {knob} back to {in_words(before)}.")])
    plane.write(target, knob, before)
    summary = f"Undone by hand: {target} {knob} is {in_words(before)} again."
    ledger.append([_entry(receipt, "verdict", at, summary)])
    return summary


def _entry(receipt: Entry, kind: str, at: float, summary: str) -> Entry:
    code = Reason.UNDONE_BY_HAND.code
    return Entry(receipt.id, at, receipt.cycle, kind, receipt.target, receipt.knob, code, summary, {})
