"""What detection and prediction found, in words and as plain data: abnormal signals, culprits, load to come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from governor.evidence import Anomaly, Cause
from governor.explain.values import number

LISTED = 100
"""Anomalies that the ledger, a page or JSON names; the rest is counted."""


@dataclass(frozen=True)
class ExpectedLoad:
    """Load of one service at one time ahead, requests/s."""

    service: str
    now: float
    in_min: float
    low: float
    """One time in ten it is less."""
    middle: float
    high: float
    """One time in ten it is more."""
    served_by: str
    """The model, or the baseline and why."""


@dataclass(frozen=True)
class Findings:
    """All of one cycle."""

    anomalies: Sequence[Anomaly] = ()
    """Rarest first."""
    causes: Sequence[Cause] = ()
    loads: Sequence[ExpectedLoad] = ()


def abnormal_in_words(one: Anomaly) -> str:
    """What is abnormal, by how much."""
    side = "above" if not one.value < one.bound else "below"
    kind = "" if one.view == "value" else f" ({one.view})"
    return f"{number(one.value)}{kind}, {side} {number(one.bound)}, the end of all it did before"


def causes_in_words(causes: Sequence[Cause]) -> Iterator[str]:
    """A sentence for each symptom."""
    by_symptom: dict[tuple[str, str], list[Cause]] = {}
    for cause in causes:
        by_symptom.setdefault((cause.symptom, cause.signal), []).append(cause)
    for (symptom, signal), found in by_symptom.items():
        shares = ", ".join(f"{c.service} explains {c.share:.0%}" for c in found)
        yield f"{symptom} has abnormal {signal}: {shares}."


def load_in_words(load: ExpectedLoad) -> str:
    """One line of a forecast."""
    return (
        f"{load.service}: {number(load.now)} requests/s now, {number(load.middle)} "
        f"({number(load.low)} to {number(load.high)}) in {number(load.in_min)} min, {load.served_by}"
    )


def as_data(findings: Findings) -> Mapping[str, Any]:
    """For JSON: numbers that are not finite are null."""
    return {
        "anomalies": [
            {
                "table": one.table,
                "subject": one.subject,
                "signal": one.signal,
                "view": one.view,
                "value": _finite(one.value),
                "bound": _finite(one.bound),
                "since": one.since,
                "p": one.p,
            }
            for one in findings.anomalies[:LISTED]
        ],
        "anomalies_in_all": len(findings.anomalies),
        "causes": [
            {"symptom": c.symptom, "signal": c.signal, "service": c.service, "share": c.share}
            for c in findings.causes
        ],
        "forecast": [
            {name: _finite(value) if isinstance(value, float) else value for name, value in asdict(load).items()}
            for load in findings.loads
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
