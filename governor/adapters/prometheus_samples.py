"""Short samples for the cost matrix: two range queries at the step of the scrapes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from governor.adapters.prometheus_client import PrometheusClient
from governor.adapters.prometheus_names import Names
from governor.adapters.prometheus_queries import Dialect, Windows, series_of
from governor.adapters.prometheus_tables import RowFinder
from governor.domain import MeshIndex, RateSamples

LONGEST_STEP_S = 15.0
"""Longer samples even out what tells the APIs apart."""
MOST_SAMPLES = 120
Floats = NDArray[np.float64]


def rate_samples(
    client: PrometheusClient, dialect: Dialect, windows: Windows, index: MeshIndex, names: Names, now: float
) -> RateSamples | None:
    """Rates between each two scrapes of the window: what the APIs let in and what arrived at the services.

    `rate` over two steps holds two scrapes, hence the one interval between them: rows do not overlap. A row where
    a scrape is absent is NaN. None where scrapes are more than `LONGEST_STEP_S` apart, there is no API, or one of
    the two answers is empty.
    """
    step = windows.step_s
    if step > LONGEST_STEP_S or not index.apis:
        return None
    count = min(max(math.floor(windows.range_s / step), 2), MOST_SAMPLES)
    end = math.floor(now)
    start = end - math.ceil((count - 1) * step)
    grid = math.floor((end - start) / step + 1e-6) + 1
    find = RowFinder(index, names)

    def matrix(promql: str, table: str, size: int) -> Floats | None:
        query = windows.fill(promql)
        out = np.zeros((grid, size))
        series = series_of(client.query_range(query, start, end, step), query, client.name)
        for labels, times, values in series:
            row = find(table, labels)
            at = np.rint((times - start) / step).astype(np.intp)
            good = (at >= 0) & (at < grid)
            if row >= 0:
                one = np.full(grid, np.nan)
                one[at[good]] = values[good]
                out[:, row] += one
        return out if series else None

    admitted = matrix(dialect.api_samples, "api", len(index.apis))
    attempts = matrix(dialect.edge_samples, "edge", len(index.edges))
    if admitted is None or attempts is None:
        return None
    arrivals = np.zeros((grid, len(index.services)))
    np.add.at(arrivals.T, index.edge_callee, attempts.T)
    finite = np.isfinite(admitted).all(axis=1) & np.isfinite(arrivals).all(axis=1)
    admitted[~finite] = np.nan  # an infinite rate must not reach the fit
    return RateSamples(admitted.astype(np.float32), arrivals.astype(np.float32), step)
