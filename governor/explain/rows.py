"""Decisions as rows: what would change, why, what stands in the way; and what is unknown, with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from governor.domain import Gap
from governor.explain.values import expected, in_words, said
from governor.knobs import Proposal, value_to_json
from governor.reasons import Reason

WRITE_GATES = frozenset(
    {Reason.MODE_RECOMMEND, Reason.PAUSED, Reason.FREEZE, Reason.BLAST_RADIUS, Reason.COOL_DOWN}
)
"""Gates that stop the write but not the advice: a person may still want to act on it."""


class HeldProposal(Protocol):
    """A proposal that the guard held."""

    @property
    def proposal(self) -> Proposal:
        """What was proposed."""

    @property
    def reason(self) -> Reason:
        """The gate that stopped it."""

    @property
    def detail(self) -> str:
        """The numbers behind that."""


@dataclass(frozen=True)
class Row:
    """One proposal, ready to be shown."""

    target: str
    knob: str
    current: str
    proposed: str
    uncapped: str
    confidence: float
    traffic: float
    """Requests/s that the change touches."""
    expected: str
    code: str
    summary: str
    gate: str
    """Code of what stopped it; empty if nothing did."""
    gate_detail: str
    advice: bool
    """Whether it is a recommendation: held by nothing, or only by something that concerns writing."""


@dataclass(frozen=True)
class Unknown:
    """Something that cannot be decided, and why."""

    subject: str
    reason: str


def row(proposal: Proposal, gate: Reason | None = None, detail: str = "") -> Row:
    """`proposal` as a row; `gate` is what stopped it."""
    return Row(
        target=str(proposal.target),
        knob=proposal.knob.value,
        current=in_words(proposal.current),
        proposed=in_words(proposal.proposed),
        uncapped=in_words(proposal.uncapped),
        confidence=proposal.confidence,
        traffic=proposal.traffic,
        expected=expected(proposal.hypothesis),
        code=proposal.reason.code,
        summary=said(proposal),
        gate=gate.code if gate else "",
        gate_detail=(detail or gate.sentence) if gate else "",
        advice=gate is None or gate in WRITE_GATES,
    )


def rows(go: Sequence[Proposal], held: Iterable[HeldProposal]) -> list[Row]:
    """All proposals of one cycle, advice first, then by traffic touched."""
    found = [row(p) for p in go] + [row(h.proposal, h.reason, h.detail) for h in held]
    return sorted(found, key=lambda r: (not r.advice, -r.traffic, r.target, r.knob))


def unknowns(gaps: Iterable[Gap]) -> list[Unknown]:
    """What is absent, one entry a subject, in the order of the gaps."""
    by_subject: dict[str, dict[str, list[str]]] = {}
    for gap in gaps:
        reason = f"{gap.reason.value}{f' ({gap.detail})' if gap.detail else ''}"
        by_subject.setdefault(gap.subject, {}).setdefault(reason, []).append(gap.signal)
    return [
        Unknown(subject, "; ".join(f"{', '.join(signals)}: {why}" for why, signals in reasons.items()))
        for subject, reasons in by_subject.items()
    ]


def as_json(proposal: Proposal, gate: Reason | None = None, detail: str = "") -> dict[str, Any]:
    """One proposal as plain data: the row's words and the exact values."""
    return {
        **asdict(row(proposal, gate, detail)),
        "values": {
            "current": value_to_json(proposal.current),
            "proposed": value_to_json(proposal.proposed),
            "uncapped": value_to_json(proposal.uncapped),
        },
        "evidence": {name: float(value) for name, value in proposal.evidence.items()},
    }
