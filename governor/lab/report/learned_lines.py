"""From the ledger's lines of cycles to what detection and prediction said over the run."""

from __future__ import annotations

from collections.abc import Iterable

from governor.lab.report.data import AnomalySpan, LoadForecast
from governor.lab.report.ledger_lines import target_in_words
from governor.ports import Entry

SPANS = 40
"""Marks on the page at most: the longest."""


def anomaly_spans(entries: Iterable[Entry], epoch: float, end_s: float) -> tuple[AnomalySpan, ...]:
    """When which signal was abnormal, by beginning; `entries` in any order."""
    last: dict[tuple[str, str, str, float], float] = {}
    for entry in entries:
        if entry.kind != "cycle":
            continue
        for one in entry.body.get("anomalies", ()):
            key = (one["table"], one["subject"], one["signal"], one["since"])
            last[key] = max(last.get(key, entry.at), entry.at)
    spans = [
        AnomalySpan(
            start_s=round(max(since - epoch, 0.0), 3),
            end_s=round(min(until - epoch, end_s), 3),
            subject=target_in_words(f"{table}/{subject}") if table == "edge" else subject,
            signal=signal.replace("_", " "),
        )
        for (table, subject, signal, since), until in last.items()
        if since - epoch < end_s
    ]
    longest = sorted(spans, key=lambda span: span.start_s - span.end_s)[:SPANS]
    return tuple(sorted(longest, key=lambda span: (span.start_s, span.subject, span.signal)))


def load_forecasts(entries: Iterable[Entry], epoch: float, end_s: float) -> tuple[LoadForecast, ...]:
    """What was expected of each service's load at the shortest horizon, and what was seen; oldest first."""
    seen: dict[str, list[tuple[float, float | None]]] = {}
    said: dict[str, list[tuple[float, float | None, float | None, float | None]]] = {}
    horizon: dict[str, float] = {}
    for entry in sorted(entries, key=lambda entry: entry.at):
        if entry.kind != "cycle":
            continue
        at = entry.at - epoch
        for load in entry.body.get("forecast", ()):
            service, minutes = load["service"], load["in_min"]
            if minutes != horizon.setdefault(service, minutes):
                continue
            then = at + 60.0 * minutes
            if at <= end_s:
                seen.setdefault(service, []).append((round(at, 3), load["now"]))
            if then <= end_s:
                band = (round(then, 3), load["low"], load["middle"], load["high"])
                said.setdefault(service, []).append(band)
    return tuple(
        LoadForecast(service, horizon[service], tuple(seen[service]), tuple(said[service])) for service in said
    )
