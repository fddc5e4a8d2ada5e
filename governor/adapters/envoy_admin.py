"""Frames straight from Envoy's admin interface and the services' own pages: no Prometheus needed.

A thread scrapes `/stats/prometheus` every second and keeps two minutes; a frame differences the counters of its
window. Source: Envoy, operations/admin.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from governor.adapters.clock import SystemClock
from governor.adapters.dialects import dialect
from governor.adapters.envoy_admin_routes import read_routes
from governor.adapters.envoy_admin_sampler import Page, Sampler, Sweep, Target
from governor.adapters.envoy_admin_series import Series
from governor.adapters.envoy_admin_subsets import backends_of, with_backends
from governor.adapters.envoy_admin_tables import (
    RowFinder,
    Sheet,
    Tables,
    api_table,
    backend_table,
    edge_table,
    rate_samples,
    service_table,
)
from governor.adapters.envoy_files_admin import EnvoyAdmin
from governor.domain import Gap, GapReason, MeshFrame, MeshIndex
from governor.errors import SourceError, SourceUnreachable
from governor.observe.frame import Measured, build_frame
from governor.observe.index import mesh_index
from governor.observe.staleness import stale_after
from governor.ports import Clock

HISTOGRAM_S = 10.0
"""Envoy merges its histograms every 5 s: a shorter window may hold none of their growth."""
ROUTES_KEPT_S = 30.0
WITHIN = 30
"""Finer frames within one at most."""
TIMEOUT_S = 2.0
Route = tuple[str, str]


class EnvoyAdminSource:
    """MetricSource over the admin pages of some Envoys and the metrics pages of services.

    Raises SourceUnreachable or SourceRefused when no Envoy answers. A page that fails alone makes the frame
    partial, and a service page that fails leaves the service's own signals out.
    """

    def __init__(
        self,
        admin_urls: Sequence[str],
        workload_urls: Sequence[str] = (),
        *,
        step_s: float = 1.0,
        timeout_s: float = TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self._admin = [url.rstrip("/") for url in admin_urls]
        self._clock = clock or SystemClock()
        wanted = quote("".join(dialect("admin")["filter"].split()), safe="")
        envoys = [
            Target(f"{u}/stats/prometheus?usedonly&filter={wanted}", f"Envoy at {u}", u) for u in self._admin
        ]
        pages = [Target(url, f"workload metrics at {url}") for url in workload_urls]
        self._sampler = Sampler([*envoys, *pages], step_s, timeout_s, self._clock)
        self._index: MeshIndex | None = None
        self._rows: RowFinder | None = None
        self._told = -np.inf
        """Wall time of the newest sweep that was looked at."""
        self._glanced = -np.inf
        """As `_told`, for glances."""
        self._routes: dict[Route, str] = {}
        self._routes_at = -np.inf
        self._routes_error: str | None = None

    def observe(self, window_s: float) -> MeshFrame:
        """The last `window_s` seconds; right after the start it waits until there are that many."""
        step, timeout = self._sampler.step_s, self._sampler.timeout_s
        sweeps = self._sampler.wait(window_s, window_s + 2 * (step + timeout))
        self._require(sweeps)
        self._refresh_routes()
        sheets = self._sheets(sweeps, window_s)
        index = self._names(sheets)
        if self._rows is None or self._rows.index is not index:
            self._rows = RowFinder(index)
        good = [n for n, s in enumerate(sweeps) if any(s.pages[: len(self._admin)])]
        unseen = [n for n in good[:-1] if sweeps[n].wall > self._told][-WITHIN:]
        within = tuple(
            self._frame(before, self._sheets(before, window_s), window_s, before[-1].wall)
            for before in (sweeps[: n + 1] for n in unseen)
        )
        self._told = sweeps[good[-1]].wall
        frame = self._frame(sweeps, sheets, window_s, self._told, self._gaps(sheets))
        return replace(frame, within=within, age_s=max(0.0, self._clock.now() - self._told))

    def glance(self, window_s: float) -> MeshFrame | None:
        """As Glances has it; latencies, which need a longer window, are missing more often than in a cycle."""
        sweeps = self._sampler.sweeps()
        good = [s for s in sweeps if any(s.pages[: len(self._admin)])]
        if self._rows is None or len(good) < 2 or good[-1] is not sweeps[-1] or good[-1].wall <= self._glanced:
            return None
        self._glanced = good[-1].wall
        frame = self._frame(sweeps, self._sheets(sweeps, window_s), window_s, self._glanced, histogram_s=window_s)
        return replace(frame, age_s=max(0.0, self._clock.now() - self._glanced))

    def _frame(
        self,
        sweeps: Sequence[Sweep],
        sheets: list[Sheet],
        window_s: float,
        at: float,
        gaps: Sequence[Gap] = (),
        histogram_s: float = HISTOGRAM_S,
    ) -> MeshFrame:
        """The window (`sheets`) that ends with the last of `sweeps`, at `at`; over the newest sweep's names."""
        assert self._rows is not None
        now = Tables(sheets, self._rows)
        # A window that is long enough for histograms serves both.
        recent = now if window_s >= histogram_s else Tables(self._sheets(sweeps, histogram_s), self._rows)
        missing = sum(gap.reason is GapReason.PARTIAL for gap in gaps if gap.signal == "edge")
        return build_frame(
            Measured(
                at=at,
                window_s=max((float(s.times[-1] - s.times[0]) for s in sheets if s.hides_zero), default=window_s),
                index=self._rows.index,
                service=service_table(now),
                edge=edge_table(now, recent),
                backend=backend_table(now),
                api=api_table(now, recent),
                samples=rate_samples(now, self._sampler.step_s),
                gaps=tuple(gaps),
                whole=1.0 - missing / max(len(self._admin), 1),
            )
        )

    def history_s(self) -> float:
        """Seconds between the oldest scrape that is kept and the newest."""
        good = [s.wall for s in self._sampler.sweeps() if any(s.pages)]
        return good[-1] - good[0] if good else 0.0

    def close(self) -> None:
        """Stop scraping."""
        self._sampler.close()

    def _require(self, sweeps: Sequence[Sweep]) -> None:
        """Raise what went wrong when no Envoy has answered lately."""
        fresh = self._clock.now() - stale_after(self._sampler.step_s, self._sampler.timeout_s)
        if any(any(s.pages[: len(self._admin)]) for s in sweeps if s.wall >= fresh):
            return
        for target in self._sampler.targets[: len(self._admin)]:
            if target.error is not None:
                raise target.error
        raise SourceUnreachable(f"no answer from {', '.join(self._admin)} yet")

    def _refresh_routes(self) -> None:
        """Which API enters where, from the route configuration; what was last read stays if it cannot be."""
        if time.monotonic() - self._routes_at < ROUTES_KEPT_S:
            return
        routes: dict[Route, str] = {}
        try:
            for url, target in zip(self._admin, self._sampler.targets, strict=False):
                found = read_routes(EnvoyAdmin(url, self._sampler.timeout_s))
                for route, cluster in found.items():
                    owner = target.book.proxy.owner(cluster)
                    routes[route] = owner.edge.name if owner else cluster
        except SourceError as error:
            self._routes_error = str(error)
            return
        self._routes, self._routes_at, self._routes_error = routes, time.monotonic(), None

    def _sheets(self, sweeps: Sequence[Sweep], span_s: float) -> list[Sheet]:
        found = []
        ends = [page.at for page in sweeps[-1].pages if page is not None] if sweeps else []
        end = max(ends, default=time.monotonic())
        for n, target in enumerate(self._sampler.targets):
            pages = [page for sweep in sweeps if (page := sweep.pages[n]) is not None]
            newest = pages[-1].at if pages else 0.0
            if end - newest > stale_after(self._sampler.step_s, self._sampler.timeout_s):
                continue
            kept = [p for p in pages if p.at >= newest - span_s - 0.2 * self._sampler.step_s]
            known = list(target.book.series)
            series, values = with_backends(known, _matrix(kept, len(known)))
            times = np.array([p.at for p in kept])
            found.append(Sheet(target.name, times, values, series, n < len(self._admin)))
        return found

    def _names(self, sheets: Sequence[Sheet]) -> MeshIndex:
        subjects: dict[str, set[tuple[str, ...]]] = {}
        for sheet in sheets:
            present = ~np.isnan(sheet.values).all(axis=0)
            for slot in np.flatnonzero(present).tolist():
                one: Series = sheet.series[slot]
                subjects.setdefault(one.table, set()).add(one.subject)
        known = {name: edge for target in self._sampler.targets for name, edge in dict(target.book.edges).items()}
        edges = [known[subject[0]] for subject in subjects.get("edge", ())]
        backends = backends_of(subjects.get("edge", ()), subjects.get("backend", ()))
        self._index = mesh_index(edges, backends, _apis(self._routes), self._index)
        return self._index

    def _gaps(self, sheets: Sequence[Sheet]) -> list[Gap]:
        gaps = []
        for n, target in enumerate(self._sampler.targets):
            if target.error is not None:
                table = "edge" if n < len(self._admin) else "service"
                gaps.append(Gap(table, target.name, GapReason.PARTIAL, str(target.error)))
        if len(sheets) == len(self._admin) == len(self._sampler.targets):
            gaps.append(Gap("service", "every service", GapReason.MISSING, "no workload page is named"))
        if self._routes_error is not None:
            gaps.append(Gap("api", "every api", GapReason.PARTIAL, self._routes_error))
        return gaps


def _matrix(pages: Sequence[Page], width: int) -> np.ndarray:
    """(K, n): older pages know fewer series than later ones."""
    out = np.full((len(pages), width), np.nan)
    for row, page in enumerate(pages):
        out[row, : len(page.values)] = page.values
    return out


def _apis(routes: dict[Route, str]) -> dict[str, str]:
    """API name to entry edge; a route name that two virtual hosts share is told apart by its host."""
    names = Counter(route for _, route in routes)
    return {
        (route if names[route] == 1 else f"{host}/{route}"): cluster for (host, route), cluster in routes.items()
    }
