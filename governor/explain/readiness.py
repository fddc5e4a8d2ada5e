"""Which knobs a frame's signals enable, and what is missing for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape as plain
from rich.table import Table

from governor.domain import GapReason, MeshFrame
from governor.knobs import Knob

NEEDS: Mapping[Knob, tuple[str, ...]] = {
    Knob.RATE_LIMIT: ("api.offered", "edge.rate", "edge.errors"),
    Knob.IN_FLIGHT_CAP: ("edge.rate", "edge.in_flight", "edge.latency_mean"),
    Knob.WEIGHTS: ("backend.rate", "backend.in_flight"),
    Knob.RETRIES: ("edge.rate", "edge.attempts", "edge.retries"),
    Knob.TIMEOUT: ("edge.rate", "edge.latency_p99", "edge.latency_p999"),
    Knob.OUTLIER_DETECTION: ("backend.rate", "backend.errors"),
    Knob.CONNECTION_LIMITS: ("edge.in_flight", "edge.rate"),
}
"""Signals without which a knob is left alone."""

SHARPENS: Mapping[Knob, tuple[str, ...]] = {
    Knob.RATE_LIMIT: ("service.completions", "service.cpu_used", "service.cpu_limit"),
    Knob.IN_FLIGHT_CAP: ("service.completions", "service.cpu_used", "service.cpu_limit"),
    Knob.RETRIES: ("edge.timeouts",),
}
"""Signals that make a knob's law surer; without them it is more careful."""


@dataclass(frozen=True)
class Readiness:
    """One knob: whether it can be decided, and what is absent."""

    knob: Knob
    ready: bool
    missing: tuple[str, ...]
    would_help: tuple[str, ...]


def coverage(frame: MeshFrame) -> dict[str, float]:
    """Per signal (`edge.rate`, ...): share of the values that are there, 0..1; 0 where there is nothing."""
    found = {}
    for table in ("service", "edge", "backend", "api"):
        signals = getattr(frame, table)
        for column in fields(signals):
            values = getattr(signals, column.name)
            found[f"{table}.{column.name}"] = float(np.isfinite(values).mean()) if len(values) else 0.0
    return found


def readiness(frame: MeshFrame) -> list[Readiness]:
    """What `frame` enables, knob by knob."""
    there = coverage(frame)
    found = []
    for knob, needed in NEEDS.items():
        missing = tuple(name for name in needed if there[name] == 0)
        helpful = tuple(name for name in SHARPENS.get(knob, ()) if there[name] == 0)
        found.append(Readiness(knob, not missing, missing, helpful))
    return found


def check_report(frame: MeshFrame, history_s: float | None, dialect: str | None = None) -> RenderableType:
    """What `governor check` prints; `history_s` is None or `dialect` is None where the source has none."""
    index = frame.index
    counts = {"service": index.services, "edge": index.edges, "backend": index.backends, "API": index.apis}
    sizes = ", ".join(f"{len(names)} {what}{'' if len(names) == 1 else 's'}" for what, names in counts.items())
    history = "none kept by this source" if history_s is None else _length(history_s)
    lines = [f"The source answers: {sizes}.", f"Newest sample {frame.age_s:.1f} s old. History: {history}."]
    if dialect is not None:
        lines.append(f"Metric names: {dialect}.")
    signals = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("signal", "there", "trust"):
        signals.add_column(name, justify="left" if name == "signal" else "right")
    for name, share in coverage(frame).items():
        trust = frame.trust.get(name)
        signals.add_row(name, f"{share:.0%}" if share else "?", "?" if trust is None else f"{trust:.2f}")
    knobs = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("knob", "enabled", "missing", "would help"):
        knobs.add_column(name, overflow="fold")
    for r in readiness(frame):
        missing, helpful = ", ".join(r.missing) or "-", ", ".join(r.would_help) or "-"
        knobs.add_row(r.knob.value, "yes" if r.ready else "no", missing, helpful)
    silent = silences(frame)
    notes = ["Not told by the source:", *(f"  {line}" for line in silent)] if silent else []
    return Group(*map(plain, lines), signals, knobs, *map(plain, notes))


def silences(frame: MeshFrame) -> list[str]:
    """What the source says of signals and services that it does not tell, a line each."""
    said: dict[tuple[str, str], list[str]] = {}
    for gap in frame.gaps:
        if gap.reason is GapReason.MISSING and gap.detail:
            said.setdefault((gap.signal, gap.detail), []).append(gap.subject)
    return [
        f"{signal} of {subjects[0]}{f' and {len(subjects) - 1} more' if subjects[1:] else ''}: {detail}"
        for (signal, detail), subjects in sorted(said.items())
    ]


def _length(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"
