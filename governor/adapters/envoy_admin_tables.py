"""From the scrapes of one window to the tables of a frame: pure, all series of a page at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.adapters.envoy_admin_names import LIMIT_PREFIX, callees_by_backend, services_by_name
from governor.adapters.envoy_admin_series import Series
from governor.domain import GapReason, MeshIndex, RateSamples
from governor.observe.counters import counter_rates, gauge_means, restarts, steps
from governor.observe.histogram import QUANTILES, least_count, mean, quantile
from governor.observe.signals import Signal

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
MILLISECONDS = 1000.0
Rows = NDArray[np.intp]
Places = Mapping[tuple[str, str], tuple[Rows, Rows]]
"""For each (table, signal): positions of its series, and the row of each."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """Good scrapes of one page, oldest first."""

    name: str
    """Of the page, unique."""
    times: Floats
    """(K,) seconds of a clock that never jumps."""
    values: Floats
    """(K, n), NaN where a scrape had no such series."""
    series: Sequence[Series]
    """(n,)."""
    hides_zero: bool
    """Counters that never moved are absent (Envoy's `usedonly`): one that appears has counted from zero."""


@dataclass(frozen=True, eq=False)
class _Folded:
    """Rates and means of one sheet's series, (n,)."""

    per_s: Floats
    grown: Floats
    """What a counter grew by in the intervals without a reset."""
    bound: Floats
    """Upper bounds of buckets."""
    reset: Flags
    infinite: Flags
    level: Floats


class RowFinder:
    """Rows of series in the tables of one index; what was looked up once is kept while the index stays."""

    def __init__(self, index: MeshIndex) -> None:
        self.index = index
        self._edge = {name: i for i, name in enumerate(index.edges)}
        self._service = callees_by_backend(index) | services_by_name(index.services)
        self._backend = {
            (index.edges[e], name): i
            for i, (e, name) in enumerate(zip(index.backend_edge, index.backends, strict=True))
        }
        self._api = {name: i for i, name in enumerate(index.apis)}
        self._found: dict[str, tuple[int, Places]] = {}

    def places(self, sheet: Sheet) -> Places:
        """Where the series of one page belong; a page's series only ever grow in number."""
        size, places = self._found.get(sheet.name, (-1, {}))
        if size != len(sheet.series):
            places = self._look_up(sheet.series)
            self._found[sheet.name] = len(sheet.series), places
        return places

    def _look_up(self, series: Sequence[Series]) -> Places:
        found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for slot, one in enumerate(series):
            row = self._row(one.table, one.subject)
            if row >= 0:
                slots, at = found.setdefault((one.table, one.signal), ([], []))
                slots.append(slot)
                at.append(row)
        return {key: (np.array(slots, np.intp), np.array(at, np.intp)) for key, (slots, at) in found.items()}

    def _row(self, table: str, subject: tuple[str, ...]) -> int:
        """Row of a subject in its table, -1 if it has none."""
        match table:
            case "edge":
                return self._edge.get(subject[0], -1)
            case "service":
                # A Service of a single pod is called as the pod.
                return self._service.get(subject[0], self._service.get(subject[1], -1))
            case "backend":
                return self._backend.get((subject[0], subject[1]), -1)
            case "limit":
                return self._api.get(subject[0].removeprefix(LIMIT_PREFIX), -1)
            case _:
                return self._api.get(subject[1], self._api.get("/".join(subject), -1))


class Tables:
    """Sums over all sheets by table, signal and row of an index."""

    def __init__(self, sheets: Sequence[Sheet], rows: RowFinder) -> None:
        self.index = rows.index
        self._sheets = [(sheet, _fold(sheet)) for sheet in sheets]
        self._places = [rows.places(sheet) for sheet in sheets]
        self._sizes = {**rows.index.sizes, "limit": len(rows.index.apis)}

    def rate(self, table: str, signal: str, *, zero: bool) -> tuple[Floats, Mapping[GapReason, Flags]]:
        """Sum of rates by row, with its flaws; where nothing counts, 0 if `zero` (never moved), else NaN."""
        size = self._sizes[table]
        total, seen = np.zeros(size), np.zeros(size, np.bool_)
        reset, infinite = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        for folded, slots, at in self._each(table, signal):
            known = np.isfinite(folded.per_s[slots])
            np.add.at(total, at[known], folded.per_s[slots][known])
            seen[at[known]] = True
            reset[at[folded.reset[slots]]] = True
            infinite[at[folded.infinite[slots]]] = True
        values = total if zero else np.where(seen, total, np.nan)
        return values, {GapReason.NOT_FINITE: infinite & ~seen, GapReason.RESET: reset}

    def level(self, table: str, signal: str) -> Floats:
        """Sum of gauges by row, mean over the scrapes; NaN where none was there."""
        size = self._sizes[table]
        total, seen = np.zeros(size), np.zeros(size, np.bool_)
        for folded, slots, at in self._each(table, signal):
            known = np.isfinite(folded.level[slots])
            np.add.at(total, at[known], folded.level[slots][known])
            seen[at[known]] = True
        return np.where(seen, total, np.nan)

    def change(self, table: str, signal: str) -> Floats:
        """Change per second of gauges by row, last scrape less first; 0 where not known."""
        total = np.zeros(self._sizes[table])
        for (sheet, _), places in zip(self._sheets, self._places, strict=True):
            slots, at = places.get((table, signal), (_NONE, _NONE))
            took = sheet.times[-1] - sheet.times[0]
            if len(slots) and took > 0:
                moved = np.nan_to_num(sheet.values[-1, slots]) - np.nan_to_num(sheet.values[0, slots])
                np.add.at(total, at, moved / took)
        return total

    def members(self, table: str, signal: str) -> Floats:
        """Number of series by row; NaN where there is none."""
        count = np.zeros(self._sizes[table])
        for folded, slots, at in self._each(table, signal):
            np.add.at(count, at, np.isfinite(folded.per_s[slots]))
        return np.where(count > 0, count, np.nan)

    def buckets(self, table: str, signal: str) -> tuple[Floats, Floats]:
        """Growth of cumulative buckets (rows, b) over the window, and their bounds (b,) in the metric's unit."""
        parts = list(self._each(table, signal))
        bounds = (
            np.unique(np.concatenate([folded.bound[slots] for folded, slots, _ in parts]))
            if parts
            else np.empty(0)
        )
        grown = np.zeros((self._sizes[table], len(bounds)))
        for folded, slots, at in parts:
            columns = np.searchsorted(bounds, folded.bound[slots])
            np.add.at(grown, (at, columns), np.nan_to_num(folded.grown[slots]))
        return grown, bounds

    def grown(self, table: str, signal: str) -> Floats:
        """Sum of what counters grew by in the window, by row."""
        total = np.zeros(self._sizes[table])
        for folded, slots, at in self._each(table, signal):
            np.add.at(total, at, np.nan_to_num(folded.grown[slots]))
        return total

    def step_rates(self, table: str, signal: str) -> Floats:
        """Rates of each single interval (K - 1, rows), all sheets aligned at their newest scrape."""
        size = self._sizes[table]
        length = min((len(sheet.times) for sheet, _ in self._sheets), default=1) - 1
        total = np.zeros((max(length, 0), size))
        for (sheet, _), places in zip(self._sheets, self._places, strict=True):
            slots, at = places.get((table, signal), (_NONE, _NONE))
            if len(slots) and length > 0:
                values = _from_zero(sheet.values[:, slots]) if sheet.hides_zero else sheet.values[:, slots]
                np.add.at(total.T, at, steps(sheet.times, values)[-length:].T)
        return total

    def _each(self, table: str, signal: str) -> Iterable[tuple[_Folded, Rows, Rows]]:
        for (_, folded), places in zip(self._sheets, self._places, strict=True):
            if (pair := places.get((table, signal))) is not None:
                yield folded, *pair


_NONE: Rows = np.empty(0, np.intp)


def _fold(sheet: Sheet) -> _Folded:
    counters = np.array([s.kind != "gauge" for s in sheet.series], np.bool_)
    values = sheet.values
    if sheet.hides_zero:
        values = np.where(counters, _from_zero(values), values)
    rates = counter_rates(sheet.times, values, restarts(values[:, counters]))
    return _Folded(
        per_s=rates.per_s,
        grown=rates.per_s * rates.span_s,
        bound=np.array([s.bound for s in sheet.series]),
        reset=rates.reset & counters,
        infinite=rates.not_finite & counters,
        level=gauge_means(values),
    )


def _from_zero(values: Floats) -> Floats:
    """0 before the first sample of each counter: Envoy shows a counter only once it has moved."""
    started = np.logical_or.accumulate(~np.isnan(values), axis=0)
    return np.where(started, values, 0.0)


def edge_table(tables: Tables, recent: Tables) -> dict[str, Signal]:
    """Signals per edge; `recent` spans at least two flushes of Envoy's histograms."""
    signals = {}
    for name in ("rate", "errors", "attempts", "retries", "timeouts", "overflow"):
        signals[name] = Signal.of(*tables.rate("edge", name, zero=True))
    signals["in_flight"] = Signal.of(tables.level("edge", "in_flight"))
    grown, bounds = recent.buckets("edge", "time")
    count = _count(grown)
    _, flaws = recent.rate("edge", "time_sum", zero=True)
    signals["latency_mean"] = Signal.of(
        mean(recent.grown("edge", "time_sum") / MILLISECONDS, count), {GapReason.TOO_FEW: count < 1} | dict(flaws)
    )
    for name, q in QUANTILES.items():
        found = quantile(grown, bounds, q) / MILLISECONDS
        signals[name] = Signal.of(found, {GapReason.TOO_FEW: count < least_count(q)})
    return signals


def _count(grown: Floats) -> Floats:
    """Requests by row: growth of the last cumulative bucket."""
    return grown[:, -1] if grown.shape[1] else np.zeros(len(grown))


def backend_table(tables: Tables) -> dict[str, Signal]:
    """Signals per backend.

    Envoy's rq_error of an endpoint also counts requests that the cluster's full cap refused, so errors are what
    was sent, less what succeeded, less what is still on its way.
    """
    sent, flaws = tables.rate("backend", "rate", zero=True)
    good, _ = tables.rate("backend", "success", zero=True)
    lost = np.maximum(sent - good - tables.change("backend", "in_flight"), 0.0)
    return {
        "rate": Signal.of(sent, flaws),
        "errors": Signal.of(lost, flaws),
        "in_flight": Signal.of(tables.level("backend", "in_flight")),
    }


def api_table(tables: Tables, recent: Tables) -> dict[str, Signal]:
    """Signals per API; what its limit refused is not in Envoy's count of answers, so offered is both together."""
    completed, flaws = tables.rate("api", "completed", zero=True)
    limited, _ = tables.rate("limit", "limited", zero=True)
    grown, bounds = recent.buckets("api", "time")
    count = _count(grown)
    return {
        "completed": Signal.of(completed, flaws),
        "limited": Signal.of(limited, flaws),
        "offered": Signal.of(completed + limited, flaws),
        "errors": Signal.of(*tables.rate("api", "errors", zero=True)),
        "latency_p99": Signal.of(
            quantile(grown, bounds, 0.99) / MILLISECONDS, {GapReason.TOO_FEW: count < least_count(0.99)}
        ),
    }


def service_table(tables: Tables) -> dict[str, Signal]:
    """Signals per service, from its own pages; nothing is there where no workload page was named."""
    completions, flaws = tables.rate("service", "completions", zero=False)
    seconds, _ = tables.rate("service", "seconds", zero=False)
    few = {GapReason.TOO_FEW: completions == 0}
    return {
        "cpu_used": Signal.of(*tables.rate("service", "cpu_used", zero=False)),
        "cpu_limit": Signal.of(tables.level("service", "cpu_limit")),
        "completions": Signal.of(completions, flaws),
        "server_latency": Signal.of(mean(seconds, np.nan_to_num(completions)), few),
        "replicas": Signal.of(tables.members("service", "cpu_used")),
    }


def rate_samples(tables: Tables, step_s: float) -> RateSamples | None:
    """Each scrape interval of the window: what every API let in, and what arrived at every service."""
    admitted = tables.step_rates("api", "completed")
    attempts = tables.step_rates("edge", "attempts")
    if not len(admitted):
        return None
    arrivals = np.zeros((len(attempts), len(tables.index.services)))
    np.add.at(arrivals.T, tables.index.edge_callee, attempts.T)
    return RateSamples(admitted.astype(np.float32), arrivals.astype(np.float32), step_s)
