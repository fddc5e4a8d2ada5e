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
    written = _written(entries)
    if written is None:
        raise LedgerError(f"{entries[0].id}: nothing was written under this decision, so nothing can be undone")
    target, knob, before = target_of(written), Knob(written.knob), value_in(written, "before")
    later = _later(written, ledger)
    ledger.append([_entry(written, "note", at, f"Undo asked for: {target} {knob} back to {in_words(before)}.")])
    plane.write(target, knob, before)
    summary = f"Undone by hand: {target} {knob} is {in_words(before)} again."
    if later:
        summary += f" What was decided there since is gone with it: {', '.join(later)}."
    ledger.append([_entry(written, "verdict", at, summary)])
    return summary


def _written(entries: Sequence[Entry]) -> Entry | None:
    """The receipt; or the intent where there is nothing else, for that write may have happened."""
    by_kind = {e.kind: e for e in entries}
    return by_kind.get("receipt") or (None if "verdict" in by_kind else by_kind.get("intent"))


def _later(written: Entry, ledger: Ledger) -> list[str]:
    """Decisions that wrote the same knob afterwards, oldest first."""
    receipts = ledger.entries(since=written.at, kind="receipt")
    same = [e.id for e in receipts if (e.target, e.knob) == (written.target, written.knob)]
    return [name for name in reversed(same) if name != written.id]


def _entry(receipt: Entry, kind: str, at: float, summary: str) -> Entry:
    code = Reason.UNDONE_BY_HAND.code
    return Entry(receipt.id, at, receipt.cycle, kind, receipt.target, receipt.knob, code, summary, {})
