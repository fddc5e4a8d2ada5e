"""A frame from tables of signals: float32 arrays, trust per signal, and the list of what is absent and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from governor.domain import (
    ApiSignals,
    BackendSignals,
    EdgeSignals,
    FloatArray,
    Gap,
    GapReason,
    MeshFrame,
    MeshIndex,
    RateSamples,
    ServiceSignals,
)
from governor.observe.signals import REASONS, Signal

LISTED = 50
"""Gaps of one signal and reason that are listed one by one; more become one line."""

Table = Mapping[str, Signal]
Kind = type[ServiceSignals] | type[EdgeSignals] | type[BackendSignals] | type[ApiSignals]
KINDS: Mapping[str, Kind] = {
    "service": ServiceSignals,
    "edge": EdgeSignals,
    "backend": BackendSignals,
    "api": ApiSignals,
}


@dataclass(frozen=True, eq=False)
class Measured:
    """What a source measured in one window, aggregated to the rows of `index`; absent signals are unknown."""

    at: float
    window_s: float
    index: MeshIndex
    service: Table = field(default_factory=dict)
    edge: Table = field(default_factory=dict)
    backend: Table = field(default_factory=dict)
    api: Table = field(default_factory=dict)
    age_s: float = 0.0
    samples: RateSamples | None = None
    gaps: tuple[Gap, ...] = ()
    """Absences that the source itself knows of, such as a partial answer."""
    whole: float = 1.0
    """Factor on all trust: below 1 when the source said that its answer is partial."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Words for signals (`edge.retries`) that are known to be missing."""


def build_frame(measured: Measured) -> MeshFrame:
    """The frame of what was `measured`: every signal of the domain, NaN and a gap where there is no value."""
    index = measured.index
    names = {
        "service": index.services,
        "edge": index.edges,
        "backend": tuple(
            f"{index.edges[e]} {b}" for e, b in zip(index.backend_edge, index.backends, strict=True)
        ),
        "api": index.apis,
    }
    trust: dict[str, float] = {}
    gaps = list(measured.gaps)
    columns: dict[str, dict[str, FloatArray]] = {}
    for table, kind in KINDS.items():
        given: Table = getattr(measured, table)
        columns[table] = {}
        for column in fields(kind):
            name = f"{table}.{column.name}"
            signal = given.get(column.name)
            if signal is None:
                signal = Signal.of(np.full(len(names[table]), np.nan))
            columns[table][column.name] = signal.values.astype(np.float32)
            trust[name] = signal.trust * measured.whole
            gaps += gaps_of(name, signal, names[table], measured.why.get(name, ""))
    return MeshFrame(
        at=measured.at,
        window_s=measured.window_s,
        index=index,
        service=ServiceSignals(**columns["service"]),
        edge=EdgeSignals(**columns["edge"]),
        backend=BackendSignals(**columns["backend"]),
        api=ApiSignals(**columns["api"]),
        age_s=measured.age_s,
        trust=trust,
        gaps=tuple(gaps),
        samples=measured.samples,
    )


def gaps_of(name: str, signal: Signal, subjects: tuple[str, ...], why: str = "") -> Iterator[Gap]:
    """Gaps of one signal: one for each subject, or one line where a reason has more than `LISTED`.

    `why` is said where values are missing.
    """
    for code, reason in enumerate(REASONS):
        rows = np.flatnonzero(signal.reasons == code)
        if len(rows) == 0:
            continue
        table = name.partition(".")[0]
        if len(rows) == len(subjects) > 1:
            yield Gap(name, f"every {table}", reason, why if reason is GapReason.MISSING else "")
        elif len(rows) > LISTED:
            few = ", ".join(subjects[row] for row in rows[:3])
            yield Gap(name, f"{len(rows)} of {len(subjects)} {table} rows", reason, f"{few}, ...")
        else:
            details = {GapReason.RESET: "intervals with the reset are left out", GapReason.MISSING: why}
            detail = details.get(reason, "")
            yield from (Gap(name, subjects[row], reason, detail) for row in rows)
