"""What the cycle writes into the ledger, so that every decision can be explained from the ledger alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from governor.domain import MeshFrame
from governor.errors import LedgerError
from governor.explain.findings import Findings, as_data
from governor.explain.values import said
from governor.guard.held import HeldBack
from governor.knobs import (
    Knob,
    Proposal,
    Receipt,
    Target,
    value_to_json,
)
from governor.ports import Entry, Ledger
from governor.reasons import Reason

LISTED = 100
"""Held proposals that the ledger's line of a cycle, and the instance's page, describe; the others are counted."""


def decision_id(at: float, cycle: int, position: int) -> str:
    """An id that sorts by time: 9 hex digits of milliseconds, then cycle and position."""
    return f"{int(at * 1000):x}-{cycle:x}-{position:x}"


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON can hold them: what is not finite becomes null."""
    return {name: (float(v) if math.isfinite(v) else None) for name, v in values.items()}


class Recorder:
    """Appends the entries of one cycle.

    An intent that cannot be recorded stops its write. What has happened in the mesh already, a receipt or a
    verdict, must not be lost because the ledger is full or locked just now: it is `owed`, and the next cycle's
    recorder pays it first.
    """

    def __init__(self, ledger: Ledger, number: int, at: float, owed: Sequence[Entry] = ()) -> None:
        self._ledger = ledger
        self.number = number
        self.at = at
        self._notes: list[str] = []
        self.owed: tuple[Entry, ...] = ()
        self.failure: LedgerError | None = None
        """Why the ledger takes nothing more in this cycle."""
        if owed and not self._try(owed):
            self.owed = tuple(owed)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted in this cycle."""
        return tuple(self._notes)

    def intent(self, name: str, p: Proposal) -> None:
        """Before the write: everything that explains it, and the value to go back to.

        Raises LedgerError if it cannot be recorded, and then nothing must be written.
        """
        body = {
            "before": value_to_json(p.current),
            "after": value_to_json(p.proposed),
            "uncapped": value_to_json(p.uncapped),
            "evidence": finite(p.evidence),
            "hypothesis": {
                "metric": p.hypothesis.metric,
                "bound": p.hypothesis.bound,
                "window_s": p.hypothesis.window_s,
            },
            "direction": p.direction.value,
            "confidence": p.confidence,
            "urgent": p.urgent,
        }
        if not self._try([self._entry(name, "intent", p.target, p.knob, p.reason, said(p), body)]):
            assert self.failure is not None
            raise self.failure

    def receipt(self, name: str, p: Proposal, receipt: Receipt) -> bool:
        """After the write: what the data plane took; whether it is recorded, or owed."""
        body = {
            "before": value_to_json(receipt.before),
            "after": value_to_json(receipt.after),
            "version": receipt.version,
            "details": dict(receipt.details),
        }
        return self._tell(self._entry(name, "receipt", p.target, p.knob, p.reason, said(p), body))

    def verdict(self, name: str, target: Target, knob: Knob, reason: Reason, body: Mapping[str, Any]) -> None:
        """What became of a write."""
        clean = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in body.items()}
        self._tell(self._entry(name, "verdict", target, knob, reason, reason.sentence, clean))

    def restored(self, receipt: Receipt) -> None:
        """A value given back to the operator."""
        name = decision_id(self.at, self.number, len(self._notes) + 1000)
        self.note(f"{receipt.knob.value} of {receipt.target} was given back to the operator's baseline")
        body = {"before": value_to_json(receipt.before), "after": value_to_json(receipt.after)}
        reason = Reason.RESTORED_BLIND
        self._tell(self._entry(name, "verdict", receipt.target, receipt.knob, reason, reason.sentence, body))

    def cycle(self, frame: MeshFrame, findings: Findings, held: HeldBack, proposals: int) -> None:
        """One line for the cycle, with what was held and why: all counted, the most protecting ones in words."""
        by_gate: Counter[str] = Counter()
        for kind, number in held.counts().items():
            by_gate[kind.gate.code] += number
        body = {
            "window_s": frame.window_s,
            "age_s": frame.age_s,
            "proposals": proposals,
            "gaps": len(frame.gaps),
            **as_data(findings),
            "held_by": dict(by_gate),
            "held": [
                {
                    "target": str(h.proposal.target),
                    "knob": h.proposal.knob.value,
                    "code": h.reason.code,
                    "detail": h.detail,
                    "summary": said(h.proposal),
                }
                for h in held[:LISTED]
            ],
        }
        name = decision_id(self.at, self.number, 0xFFFF)
        summary = f"{proposals} proposals, {len(held)} held"
        self._try([Entry(name, self.at, self.number, "cycle", "", "", "", summary, body)])

    def note(self, text: str) -> None:
        """Something an operator should know."""
        self._notes.append(text)
        name = decision_id(self.at, self.number, 0x8000 + len(self._notes))
        self._try([Entry(name, self.at, self.number, "note", "", "", "", text, {})])

    def _tell(self, entry: Entry) -> bool:
        """Record what has happened, now or in the next cycle."""
        told = self._try([entry])
        if not told:
            self.owed = (*self.owed, entry)
        return told

    def _try(self, entries: Sequence[Entry]) -> bool:
        """Append; after the first failure nothing more, so that what is owed keeps its order."""
        if self.failure is None:
            try:
                self._ledger.append(entries)
            except LedgerError as error:
                self.failure = error
        return self.failure is None

    def _entry(
        self,
        name: str,
        kind: str,
        target: Target,
        knob: Knob,
        reason: Reason,
        summary: str,
        body: Mapping[str, Any],
    ) -> Entry:
        return Entry(name, self.at, self.number, kind, str(target), knob.value, reason.code, summary, body)
