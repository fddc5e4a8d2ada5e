"""Request rates of services over days, by range queries in pieces of time: what a forecast looks back on.

A piece holds as many steps as keep its answer within POINTS values, whatever the number of services, so that what
is held is the result (4 bytes a value) and one answer. The server is asked one piece at a time: it has other
readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from governor.adapters.prometheus_client import PrometheusClient
from governor.adapters.prometheus_names import Names, names_of
from governor.adapters.prometheus_queries import Dialect, Labels, Windows, rows_of, series_of
from governor.domain import FloatArray
from governor.errors import SourceRefused
from governor.predict.history import RateHistory, rates_only

POINTS = 250_000
"""Values in one answer: some 8 MB of JSON."""
MOST_STEPS = 11_000
"""Prometheus refuses more for one series."""
Tick = Callable[[int, int], None]
"""Called with the steps that are there and all of them."""


@dataclass(frozen=True)
class Span:
    """What is asked for: `steps` steps of `step_s` whole seconds, the last one over at `end`."""

    end: int
    step_s: int
    steps: int

    @classmethod
    def until(cls, now: float, range_s: float, step_s: int) -> Span:
        """The last `range_s` seconds before `now`, on whole steps since the epoch."""
        return cls(int(now // step_s) * step_s, step_s, max(1, round(range_s / step_s)))


def rate_history(
    client: PrometheusClient, dialect: Dialect, span: Span, tick: Tick | None = None
) -> tuple[tuple[str, ...], RateHistory]:
    """Services by name, and final answers/s over the edges into each; NaN where Prometheus knows nothing.

    Also services that are gone by now. SourceError if an answer does not come or is none, SourceRefused if no
    service was seen in the whole range.
    """
    query = Windows(span.step_s, span.step_s, span.step_s).fill(dialect.history)
    now = rows_of(client.query(query, span.end), query, client.name)
    table = _Table(span.steps, names_of(dialect, now.labels))
    stop = span.steps
    rows = len(now.labels)
    while stop > 0:
        # Newest first: a piece tells how many rows the older ones are likely to have.
        start = max(0, stop - min(MOST_STEPS, max(1, POINTS // max(rows, 1))))
        first = span.end - (span.steps - 1 - start) * span.step_s
        last = span.end - (span.steps - stop) * span.step_s
        found = series_of(client.query_range(query, first, last, span.step_s), query, client.name)
        table.add(found, first, span.step_s, start)
        rows = max(rows, len(found))
        stop = start
        if tick is not None:
            tick(span.steps - stop, span.steps)
    if not table.names:
        raise SourceRefused(
            f"{client.name} knows no request into any service in the last "
            f"{span.steps * span.step_s / 3600.0:g} h in the "
            f"dialect {dialect.name}: is the dialect right, and does it keep its data so long? query: {query}"
        )
    return table.sorted(float(span.end), float(span.step_s))


@dataclass(eq=False)
class _Table:
    """Rates over services in the order they were first seen; older pieces may know services that are gone."""

    steps: int
    hosts: Names
    names: dict[str, int] = field(default_factory=dict)
    values: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.values = np.full((0, self.steps), np.nan, np.float32)

    def add(
        self,
        series: Iterable[tuple[Labels, NDArray[np.float64], NDArray[np.float64]]],
        first: int,
        step_s: int,
        at: int,
    ) -> None:
        found = list(series)
        callees = [self.hosts.callee(labels) for labels, _, _ in found]
        self._reserve([name for name in callees if name is not None])
        for name, (_, times, rates) in zip(callees, found, strict=True):
            if name is None:
                continue
            row = self.values[self.names[name]]
            places = at + np.rint((times - first) / step_s).astype(np.intp)
            known = rates_only(rates)
            good = (places >= 0) & (places < self.steps) & np.isfinite(known)
            # Several edges lead into one service: NaN where none is known, else the sum of those that are.
            row[places[good]] = np.where(np.isnan(row[places[good]]), 0.0, row[places[good]]) + known[good]

    def sorted(self, end_at: float, step_s: float) -> tuple[tuple[str, ...], RateHistory]:
        names = tuple(sorted(self.names))
        order = np.array([self.names[name] for name in names])
        if not np.array_equal(order, np.arange(len(self.values))):
            self.values = self.values[order]
        return names, RateHistory(self.values, end_at, step_s)

    def _reserve(self, names: list[str]) -> None:
        # Sorted, so that the first piece has the order of the result already, which saves a copy.
        for name in sorted(set(names) - self.names.keys()):
            self.names[name] = len(self.names)
        lacking = len(self.names) - len(self.values)
        if lacking:
            more = np.full((lacking, self.steps), np.nan, np.float32)
            self.values = np.concatenate([self.values, more]) if len(self.values) else more
