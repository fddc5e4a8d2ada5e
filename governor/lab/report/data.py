"""What the report shows: plain numbers and words, already computed; drawing them needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from governor.reasons import Reason

Series = tuple[float | None, ...]
"""One value for each second of the run, from second 0 on; None where there is nothing to say."""

ArmName = Literal["governed", "ungoverned"]


@dataclass(frozen=True)
class Arm:
    """What clients saw in one of the two runs; rates in requests/s."""

    name: ArmName
    offered: Series
    goodput: Series
    """Answered well within the SLO."""
    goodput_by_class: Mapping[str, Series]
    p99_s: Series
    """Latency in s; a failure counts as the SLO's timeout."""
    success: Series
    """Share of requests answered well, however late, 0..1; None in a second without requests."""
    retries: Series = ()
    """Attempts after the first that the proxies sent, per second; empty: nobody counted."""


@dataclass(frozen=True)
class FaultBand:
    """Something that went wrong from `start_s` to `end_s` of the run."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Score:
    """How one arm came through one fault."""

    goodput_rps: float
    """Mean in the fault's window."""
    share: float
    """Of the optimum's goodput in the same window, 0..1; NaN where the optimum is nothing."""
    share_after: float
    """The same from the fault's end to the next fault or the end of the run; NaN: no time in between."""
    recovery_s: float
    """From the fault's end until goodput was back; inf: not in the time there was, NaN: no time to tell."""


@dataclass(frozen=True)
class Finding:
    """One fault, and both arms' score in it."""

    fault: FaultBand
    optimum_rps: float
    governed: Score
    ungoverned: Score


@dataclass(frozen=True)
class KnobLine:
    """One setting over time: `points` are (s of the run, value in force from then on); None: not set."""

    name: str
    points: tuple[tuple[float, float | None], ...]


@dataclass(frozen=True)
class KnobPanel:
    """One chart of settings of the same kind and unit."""

    title: str
    unit: Literal["requests/s", "share", "requests", "retries", "s", "failures", "connections"]
    unset: str
    """What a gap in a line means."""
    lines: tuple[KnobLine, ...]


@dataclass(frozen=True)
class Decision:
    """One change that the governor made or tried, and what became of it."""

    at_s: float
    id: str
    """As in the ledger."""
    target: str
    knob: str
    before: str
    after: str
    code: str
    sentence: str
    """What the code means."""
    summary: str
    """What was seen, in one sentence with its numbers."""
    verdict_code: str = ""
    """Empty: not judged when the run ended."""
    verdict: str = ""
    """What became of it, in words."""
    uncapped: str = ""
    """What the law asked for before bounds and steps."""
    evidence: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def outcome(self) -> Literal["kept", "undone", "replaced", "rejected", "open"]:
        """The verdict in one word."""
        match self.verdict_code:
            case "":
                return "open"
            case Reason.KEPT.code:
                return "kept"
            case Reason.SUPERSEDED.code:
                return "replaced"
            case Reason.REJECTED.code:
                return "rejected"
            case _:
                return "undone"


@dataclass(frozen=True)
class AnomalySpan:
    """A signal that detection called abnormal from `start_s` to `end_s` of the run."""

    start_s: float
    end_s: float
    subject: str
    signal: str


@dataclass(frozen=True)
class LoadForecast:
    """Load of one service, as seen and as expected `in_min` minutes before; requests/s."""

    service: str
    in_min: float
    seen: tuple[tuple[float, float | None], ...]
    """(s of the run, requests/s)."""
    said: tuple[tuple[float, float | None, float | None, float | None], ...]
    """(s of the run that it was said of, quantiles 0.1, 0.5 and 0.9)."""


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    title: str
    description: str
    epoch: float
    """Start of the governed run, seconds since the epoch."""
    duration_s: float
    slo_s: float
    timeout_s: float
    optimum: Series
    """Requests/s that perfect knowledge could have answered in time."""
    governed: Arm
    ungoverned: Arm
    findings: tuple[Finding, ...]
    panels: tuple[KnobPanel, ...]
    decisions: tuple[Decision, ...]
    anomalies: tuple[AnomalySpan, ...] = ()
    loads: tuple[LoadForecast, ...] = ()

    @property
    def faults(self) -> tuple[FaultBand, ...]:
        """What went wrong, in the order of the findings."""
        return tuple(finding.fault for finding in self.findings)
