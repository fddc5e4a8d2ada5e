"""From answered queries to the tables of a frame: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from governor.adapters.prometheus_names import Names, row_numbers
from governor.adapters.prometheus_queries import Labels, Query, Rows, Windows
from governor.domain import Gap, GapReason, MeshIndex
from governor.observe.histogram import QUANTILES, least_count, mean
from governor.observe.signals import Signal
from governor.observe.staleness import is_stale

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
LEAST_SAMPLES = 2
"""Of an edge with fewer in the window nothing can be said, not even that a counter never moved."""
LEAST_COVER = 0.6
"""Least share of the window that samples must cover; two of three scrapes do."""


class RowFinder:
    """Row of a frame's table that labels belong to."""

    def __init__(self, index: MeshIndex, names: Names) -> None:
        self._names = names
        self._edge = row_numbers(index.edges)
        self._service = row_numbers(index.services)
        self._api = row_numbers(index.apis)
        self._backend = {
            (int(e), name): i for i, (e, name) in enumerate(zip(index.backend_edge, index.backends, strict=True))
        }

    def __call__(self, table: str, labels: Labels) -> int:
        """Row in `table`, -1 if there is none."""
        if table == "service":
            return self._service.get(self._names.service(labels) or "", -1)
        if table == "api":
            return self._api.get(self._names.api(labels) or "", -1)
        edge = self._names.edge(labels)
        row = self._edge.get(edge.name, -1) if edge is not None else -1
        if table == "backend":
            return self._backend.get((row, self._names.backend(labels) or ""), -1)
        return row


class Column:
    """Values of one query by row of its table."""

    def __init__(self, size: int) -> None:
        self.values: Floats = np.full(size, np.nan)
        self.odd: Flags = np.zeros(size, np.bool_)
        """There was a value, but it was infinite or not a number."""
        self.partial: Flags = np.zeros(size, np.bool_)
        """The value is an estimate."""

    @classmethod
    def of(cls, rows: Rows, at: NDArray[np.intp], size: int, *, largest: bool = False) -> Column:
        """Sum (or largest) of `rows` at their positions `at`, -1 for rows that are nobody's."""
        column = cls(size)
        known = (at >= 0) & np.isfinite(rows.values)
        column.odd[at[(at >= 0) & ~known]] = True
        column.values[at[known]] = -np.inf if largest else 0.0
        (np.maximum if largest else np.add).at(column.values, at[known], rows.values[known])
        return column

    def fill(self, other: Column) -> None:
        """Take the values of `other` where this has none."""
        absent = np.isnan(self.values)
        take = absent & ~np.isnan(other.values)
        self.odd = np.where(take, False, self.odd | (absent & other.odd))  # noqa: FBT003 - a value, not a flag
        self.partial = np.where(take, other.partial, self.partial)
        self.values = np.where(take, other.values, self.values)


class Answers:
    """All answers of one cycle, laid over `index`."""

    def __init__(
        self,
        answered: Sequence[tuple[Query, Rows]],
        index: MeshIndex,
        names: Names,
        windows: Windows,
        now: float,
    ) -> None:
        self.index = index
        self._sizes = index.sizes
        find = RowFinder(index, names)
        self._columns: dict[str, Column] = {}
        columns = [(query, self._column(query, rows, find)) for query, rows in answered]
        plain = {query.name: column for query, column in columns if query.zero is None}
        count = plain["edge.count"].values
        new = ~(count >= LEAST_SAMPLES)
        self._short = ~(count * windows.step_s >= LEAST_COVER * windows.range_s)
        for query, column in columns:
            if query.zero is not None:
                there = self._spread(~np.isnan(plain[query.zero].values), query.zero, query.table)
                there = there & ~self._spread(new, "edge", query.table)
                column.values[np.isnan(column.values) & ~column.odd & there] = 0.0
            column.partial |= query.partial
            if query.name in self._columns:
                self._columns[query.name].fill(column)
            else:
                self._columns[query.name] = column
        self._now, self._step_s = now, windows.step_s

    def values(self, name: str) -> Floats:
        """Values of one query, NaN where there is none."""
        return self._column_of(name).values

    def flaws(self, *names: str) -> dict[GapReason, Flags]:
        """What is to be said of a value made of `names`, all of one table."""
        table = names[0].partition(".")[0]
        columns = [self._column_of(name) for name in names]
        return {
            GapReason.STALE: self.stale(table),
            GapReason.NOT_FINITE: np.logical_or.reduce([c.odd for c in columns]),
            GapReason.RESET: self.resets(table),
            GapReason.PARTIAL: np.logical_or.reduce([self._short_in(table), *(c.partial for c in columns)]),
        }

    def stale(self, table: str) -> Flags:
        """Rows of `table` whose newest sample is too old; those of a service are not known one by one."""
        if table == "service":
            return np.zeros(self._sizes[table], np.bool_)
        old = is_stale(self._now - self.values("edge.seen"), self._step_s)
        return self._spread(old, "edge", table)

    def resets(self, table: str) -> Flags:
        """Rows of `table` with counters that fell: those of an edge all live in the same proxies."""
        if table == "service":
            return np.asarray(self.values("service.resets") > 0)
        return self._spread(self.values("edge.resets") > 0, "edge", table)

    def signal(self, name: str) -> Signal:
        """One query as a signal."""
        return Signal.of(self.values(name), self.flaws(name))

    def has(self, name: str) -> bool:
        """Whether the dialect asks for `name`."""
        return name in self._columns

    def _column_of(self, name: str) -> Column:
        return self._columns.get(name) or Column(self._sizes[name.partition(".")[0]])

    def _column(self, query: Query, rows: Rows, find: RowFinder) -> Column:
        at = np.array([find(query.table, labels) for labels in rows.labels], np.intp)
        largest = query.name.endswith((".seen", ".proxy", ".count")) or ".latency_p" in query.name
        return Column.of(rows, at, self._sizes[query.table], largest=largest)

    def _edge_of(self, table: str) -> NDArray[np.intp]:
        return (self.index.backend_edge if table == "backend" else self.index.api_edge).astype(np.intp)

    def _short_in(self, table: str) -> Flags:
        """Rows whose samples cover too little of the window: `rate` does not extrapolate over the rest."""
        if table == "service":
            return np.zeros(self._sizes[table], np.bool_)
        return self._spread(self._short, "edge", table)

    def _spread(self, flags: Flags, of: str, table: str) -> Flags:
        """`flags` on rows of `of` (a table or query) as flags on rows of `table`: each takes its edge's."""
        return flags if of.partition(".")[0] == table else np.asarray(flags[self._edge_of(table)])


def tables_of(answers: Answers) -> dict[str, dict[str, Signal]]:
    """Signals of all four tables; what the dialect does not ask for is left out, hence missing."""
    return {
        "edge": _edge_table(answers),
        "backend": _backend_table(answers),
        "api": _api_table(answers),
        "service": _service_table(answers),
    }


def repeats(answered: Sequence[tuple[Query, Rows]]) -> list[Gap]:
    """Gaps for answers that had the same labels more than once."""
    return [
        Gap(query.name, f"{rows.repeated} rows", GapReason.PARTIAL, "the same labels twice: counted once")
        for query, rows in answered
        if rows.repeated
    ]


def _edge_table(answers: Answers) -> dict[str, Signal]:
    plain = ("rate", "errors", "attempts", "retries", "timeouts", "overflow", "in_flight")
    signals = {name: answers.signal(f"edge.{name}") for name in plain}
    count, total = answers.values("edge.latency_count"), answers.values("edge.latency_sum")
    few = {GapReason.TOO_FEW: count < 1}
    signals["latency_mean"] = Signal.of(mean(total, count), few | answers.flaws("edge.latency_sum"))
    for name, q in QUANTILES.items():
        signals[name] = _quantile(answers, f"edge.{name}", count, q)
    return signals


def _quantile(answers: Answers, name: str, count: Floats, q: float) -> Signal:
    few = {GapReason.TOO_FEW: count < least_count(q)}
    return Signal.of(answers.values(name), few | answers.flaws(name))


def _backend_table(answers: Answers) -> dict[str, Signal]:
    signals = {name: answers.signal(f"backend.{name}") for name in ("rate", "in_flight")}
    if answers.has("backend.errors"):
        signals["errors"] = answers.signal("backend.errors")
    else:
        parts = ("backend.rate", "backend.success", "backend.pending")
        sent, good, pending = (answers.values(name) for name in parts)
        signals["errors"] = Signal.of(np.maximum(sent - good - pending, 0.0), answers.flaws(*parts))
    return signals


def _api_table(answers: Answers) -> dict[str, Signal]:
    signals = {name: answers.signal(f"api.{name}") for name in ("limited", "completed", "errors")}
    if answers.has("api.offered"):
        signals["offered"] = answers.signal("api.offered")
    else:
        parts = ("api.completed", "api.limited")
        offered = answers.values(parts[0]) + answers.values(parts[1])
        signals["offered"] = Signal.of(offered, answers.flaws(*parts))
    if answers.has("api.latency_p99"):
        signals["latency_p99"] = _quantile(answers, "api.latency_p99", answers.values("api.latency_count"), 0.99)
    else:  # the entry's own
        entry = answers.index.api_edge
        count, slow = answers.values("edge.latency_count"), answers.values("edge.latency_p99")
        few = {GapReason.TOO_FEW: count[entry] < least_count(0.99)}
        flaws = {reason: where[entry] for reason, where in answers.flaws("edge.latency_p99").items()}
        signals["latency_p99"] = Signal.of(slow[entry], few | flaws)
    return signals


def _service_table(answers: Answers) -> dict[str, Signal]:
    signals = {name: answers.signal(f"service.{name}") for name in ("cpu_used", "completions", "replicas")}
    signals["cpu_limit"] = Signal.of(
        answers.values("service.cpu_limit"), _without_reset(answers.flaws("service.cpu_limit"))
    )
    done, seconds = answers.values("service.completions"), answers.values("service.seconds")
    few = {GapReason.TOO_FEW: done == 0}
    signals["server_latency"] = Signal.of(
        mean(seconds, np.nan_to_num(done)), few | answers.flaws("service.seconds", "service.completions")
    )
    return signals


def _without_reset(flaws: Mapping[GapReason, Flags]) -> dict[GapReason, Flags]:
    return {reason: where for reason, where in flaws.items() if reason is not GapReason.RESET}
