"""What the cycle writes into the ledger, so that every decision can be explained from the ledger alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from governor.domain import MeshFrame
from governor.guard.held import HeldBack
from governor.knobs import (
    Knob,
    KnobValue,
    Proposal,
    Receipt,
    Target,
    TargetKind,
    value_from_json,
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
    """Appends the entries of one cycle."""

    def __init__(self, ledger: Ledger, number: int, at: float) -> None:
        self._ledger = ledger
        self.number = number
        self.at = at
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noted in this cycle."""
        return tuple(self._notes)

    def intent(self, name: str, p: Proposal) -> None:
        """Before the write: everything that explains it, and the value to go back to."""
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
        self._add(name, "intent", p.target, p.knob, p.reason, p.summary, body)

    def receipt(self, name: str, p: Proposal, receipt: Receipt) -> None:
        """After the write: what the data plane took."""
        body = {
            "before": value_to_json(receipt.before),
            "after": value_to_json(receipt.after),
            "version": receipt.version,
            "details": dict(receipt.details),
        }
        self._add(name, "receipt", p.target, p.knob, p.reason, p.summary, body)

    def verdict(self, name: str, target: Target, knob: Knob, reason: Reason, body: Mapping[str, Any]) -> None:
        """What became of a write."""
        clean = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in body.items()}
        self._add(name, "verdict", target, knob, reason, reason.sentence, clean)

    def restored(self, receipt: Receipt) -> None:
        """A value given back to the operator."""
        name = decision_id(self.at, self.number, len(self._notes) + 1000)
        self.note(f"{receipt.knob.value} of {receipt.target} was given back to the operator's baseline")
        body = {"before": value_to_json(receipt.before), "after": value_to_json(receipt.after)}
        reason = Reason.RESTORED_BLIND
        self._add(name, "verdict", receipt.target, receipt.knob, reason, reason.sentence, body)

    def cycle(self, frame: MeshFrame, held: HeldBack, proposals: int) -> None:
        """One line for the cycle, with what was held and why: all counted, the most protecting ones in words."""
        by_gate: Counter[str] = Counter()
        for kind, number in held.counts().items():
            by_gate[kind.gate.code] += number
        body = {
            "window_s": frame.window_s,
            "age_s": frame.age_s,
            "proposals": proposals,
            "gaps": len(frame.gaps),
            "held_by": dict(by_gate),
            "held": [
                {
                    "target": str(h.proposal.target),
                    "knob": h.proposal.knob.value,
                    "code": h.reason.code,
                    "detail": h.detail,
                    "summary": h.proposal.summary,
                }
                for h in held[:LISTED]
            ],
        }
        name = decision_id(self.at, self.number, 0xFFFF)
        summary = f"{proposals} proposals, {len(held)} held"
        self._ledger.append([Entry(name, self.at, self.number, "cycle", "", "", "", summary, body)])

    def note(self, text: str) -> None:
        """Something an operator should know."""
        self._notes.append(text)
        name = decision_id(self.at, self.number, 0x8000 + len(self._notes))
        self._ledger.append([Entry(name, self.at, self.number, "note", "", "", "", text, {})])

    def before_image(self, entry: Entry) -> tuple[Target, Knob, KnobValue]:
        """Where an intent would have written, and the value that was there."""
        kind, name = entry.target.split("/", 1)
        knob = Knob(entry.knob)
        return Target(TargetKind(kind), name), knob, value_from_json(knob, entry.body["before"])

    def _add(
        self,
        name: str,
        kind: str,
        target: Target,
        knob: Knob,
        reason: Reason,
        summary: str,
        body: Mapping[str, Any],
    ) -> None:
        entry = Entry(name, self.at, self.number, kind, str(target), knob.value, reason.code, summary, body)
        self._ledger.append([entry])
