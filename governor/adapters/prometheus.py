"""Frames from Prometheus, Thanos, Mimir or VictoriaMetrics.

A cycle asks a fixed number of questions, whatever the size of the mesh: which edges there are (which also tells
the server's time), how often they are scraped, one query for each signal, all evaluated at that one time, and two
range queries for the cost matrix. Rates are `rate()`, summed over proxies in PromQL. Raw samples would let us
treat resets better (`rate` keeps the time of a reset interval and so estimates low; `resets()` marks those rows),
but they are a hundred times as much to carry in a mesh of 10,000 services.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from governor.adapters.clock import SystemClock
from governor.adapters.prometheus_client import PrometheusClient, PrometheusOptions
from governor.adapters.prometheus_discovery import AUTO, spoken_dialect
from governor.adapters.prometheus_history import Span, Tick, rate_history
from governor.adapters.prometheus_names import Names, names_of
from governor.adapters.prometheus_queries import Dialect, Query, Rows, Windows, read_dialect, rows_of, series_of
from governor.adapters.prometheus_samples import rate_samples
from governor.adapters.prometheus_tables import Answers, repeats, tables_of
from governor.domain import Gap, GapReason, MeshFrame, MeshIndex
from governor.errors import SourceRefused
from governor.observe.frame import LISTED, Measured, build_frame
from governor.observe.index import mesh_index
from governor.ports import Clock
from governor.predict.history import RateHistory

__all__ = ["PrometheusOptions", "PrometheusSource"]

PROBE_S = 300
"""Prometheus looks back this long for a sample, so no sound scrape interval is longer."""
LEAST_SCRAPES = 3
"""A range this many scrapes long holds as many: two to difference, and one that may be lost."""
PARTIAL_TRUST = 0.5
"""Trust when the source says that an unknown part of the answer is absent: below what any write needs."""
SKEW_S = 5.0
"""Difference of clocks that is worth a line."""
AT_ONCE = 4
"""Queries under way at the same time; Prometheus runs 20 for everybody."""


class PrometheusSource:
    """MetricSource that asks a Prometheus.

    Raises SourceUnreachable when there is no answer in time, and SourceRefused when an answer is an error, is not
    Prometheus' or knows no mesh. Times are Prometheus' own: a skewed clock here moves no window.
    """

    def __init__(self, options: PrometheusOptions, clock: Clock | None = None) -> None:
        self._spoken: Dialect | None = None if options.dialect == AUTO else read_dialect(options.dialect)
        self._client = PrometheusClient(options)
        self._clock = clock or SystemClock()
        self._index: MeshIndex | None = None

    def observe(self, window_s: float) -> MeshFrame:
        """The last `window_s` seconds, or three scrapes if that is longer."""
        client = self._client
        client.refresh_token()
        client.take_warnings()
        seen = self._seen()
        step = self._scrape_step(seen)
        range_s = max(window_s, LEAST_SCRAPES * step)
        windows = Windows(range_s, max(range_s, self._dialect.slow_s), step)
        answered = [(self._dialect.seen, seen), *self._ask(windows, seen.at)]
        workloads = [row for query, rows in answered if query.name == "edge.workloads" for row in rows.labels]
        names = names_of(self._dialect, seen.labels, workloads)
        index, entry_gaps = self._mesh(answered, names)
        answers = Answers(answered, index, names, windows, seen.at)
        samples = rate_samples(client, self._dialect, windows, index, names, seen.at)
        warned = client.take_warnings()
        gaps = [*entry_gaps, *repeats(answered), *self._notes(seen, window_s, windows)]
        gaps += self._unseen(seen.at)
        gaps += [Gap("source", client.name, GapReason.PARTIAL, text) for text in warned]
        tables = tables_of(answers)
        return build_frame(
            Measured(
                at=seen.at,
                window_s=range_s,
                index=index,
                edge=tables["edge"],
                backend=tables["backend"],
                api=tables["api"],
                service=tables["service"],
                age_s=max(0.0, seen.at - _newest(seen)),
                samples=samples,
                gaps=tuple(gaps),
                whole=PARTIAL_TRUST if warned else 1.0,
                why=self._dialect.missing,
            )
        )

    def history_s(self) -> float:
        """Seconds that the series of one edge reach back, at most 15 days, to five minutes."""
        self._client.refresh_token()
        seen = self._seen()
        probe = self._dialect.probe_of(_probed(seen))
        query = f"min_over_time(timestamp(count({probe}))[15d:5m])"
        rows = rows_of(self._client.query(query, seen.at), query, self._client.name)
        oldest = float(np.nanmin(rows.values)) if len(rows.values) else seen.at
        return max(0.0, seen.at - oldest)

    def history(
        self, range_s: float, step_s: float, tick: Tick | None = None
    ) -> tuple[tuple[str, ...], RateHistory]:
        """Services and their request rates over the last `range_s` seconds in steps of `step_s` whole seconds.

        Errors as `observe`; Prometheus' own clock says when now is. `tick` hears of steps that are there.
        """
        self._client.refresh_token()
        answer = rows_of(self._client.query("vector(1)"), "vector(1)", self._client.name)
        if not len(answer.values):
            raise SourceRefused(f"{self._client.name} does not tell its time: it answers vector(1) with nothing")
        span = Span.until(answer.at, range_s, max(1, round(step_s)))
        return rate_history(self._client, self._dialect, span, tick)

    @property
    def dialect(self) -> str:
        """Name of the dialect that Prometheus is asked in; looked for there if it was left open."""
        return self._dialect.name

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    @property
    def _dialect(self) -> Dialect:
        if self._spoken is None:
            self._spoken = spoken_dialect(self._client)
        return self._spoken

    def _unseen(self, at: float) -> list[Gap]:
        """Services whose requests nobody counts, the first by name; no numbers are made up for them."""
        query = self._dialect.unseen
        if query is None:
            return []
        rows = rows_of(self._client.query(query.promql, at), query.promql, self._client.name)
        names = sorted({" ".join(row[label] for label in sorted(row)) for row in rows.labels})
        subjects = names if len(names) <= LISTED else [*names[:LISTED], f"{len(names) - LISTED} more"]
        return [Gap("edge", name, GapReason.MISSING, self._dialect.unseen_why) for name in subjects if name]

    def _seen(self) -> Rows:
        """Which edges there are; SourceRefused if there is none."""
        query = self._dialect.seen.promql
        rows = rows_of(self._client.query(query), query, self._client.name)
        if not len(rows.values) or not np.isfinite(rows.values).any():
            raise SourceRefused(
                f"{self._client.name} knows no edge in the dialect {self._dialect.name}: does it scrape the "
                f"proxies, are they up, and is source.prometheus.dialect right? query: {query}"
            )
        return rows

    def _scrape_step(self, seen: Rows) -> float:
        """Seconds between scrapes, from the raw samples of one edge; SourceRefused if there are not two yet."""
        query = f"{self._dialect.probe_of(_probed(seen))}[{PROBE_S}s]"
        series = series_of(self._client.query(query, seen.at), query, self._client.name)
        between = np.concatenate([np.diff(times) for _, times, _ in series]) if series else np.empty(0)
        if not (between > 0).any():
            raise SourceRefused(
                f"{self._client.name} has scraped the mesh less than twice in {PROBE_S} s: wait for the second "
                "scrape, or scrape more often"
            )
        step = float(np.median(between[between > 0]))
        return float(round(step)) if abs(step - round(step)) < 0.05 * step and round(step) else step

    def _ask(self, windows: Windows, at: float) -> list[tuple[Query, Rows]]:
        """All other queries of the dialect, a few at once; the first error ends the rest."""

        def ask(query: Query) -> tuple[Query, Rows]:
            promql = windows.fill(query.promql)
            return query, rows_of(self._client.query(promql, at), promql, self._client.name)

        rest = [query for query in self._dialect.queries if query is not self._dialect.seen]
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="prometheus")
        try:
            return list(pool.map(ask, rest))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _mesh(self, answered: Sequence[tuple[Query, Rows]], names: Names) -> tuple[MeshIndex, list[Gap]]:
        seen = {query.name: rows.labels for query, rows in answered if query.name.endswith(".seen")}
        edges = [edge for labels in seen["edge.seen"] if (edge := names.edge(labels)) is not None]
        backends = [
            (edge.name, backend)
            for labels in seen.get("backend.seen", ())
            if (edge := names.edge(labels)) is not None and (backend := names.backend(labels)) is not None
        ]
        apis, gaps = names.apis(seen.get("api.seen", ()))
        self._index = mesh_index(edges, backends, apis, self._index)
        return self._index, gaps

    def _notes(self, seen: Rows, window_s: float, windows: Windows) -> list[Gap]:
        """What else whoever reads the frame should know."""
        notes = []
        if windows.range_s > window_s:
            text = (
                f"scrapes are {windows.step_s:g} s apart: measured over {windows.range_s:g} s, not {window_s:g} s"
            )
            notes.append(Gap("window", self._client.name, GapReason.PARTIAL, text))
        if abs(skew := seen.at - self._clock.now()) > SKEW_S:
            text = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours: set both by NTP"
            notes.append(Gap("clock", self._client.name, GapReason.STALE, text))
        return notes


def _newest(seen: Rows) -> float:
    return float(np.max(seen.values[np.isfinite(seen.values)]))


def _probed(seen: Rows) -> dict[str, str]:
    """Labels of the edge with the newest sample, the first by name of several."""
    newest = _newest(seen)
    found = [dict(labels) for labels, value in zip(seen.labels, seen.values, strict=True) if value == newest]
    return min(found, key=lambda labels: sorted(labels.items()))
