"""Quantiles and means from what cumulative histograms grew by in a window, for all rows at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUANTILES = {"latency_p50": 0.5, "latency_p99": 0.99, "latency_p999": 0.999}
"""Quantiles of an edge by the name of their signal."""
LEAST = 20
"""Fewest requests for any quantile."""


def quantile(grown: Floats, bounds: Floats, q: float) -> Floats:
    """Quantile of each row, linear within its bucket, as Prometheus' `histogram_quantile`; (n,).

    Args:
        grown: (n, b) growth of the cumulative bucket counts, in the order of `bounds`; NaN: as the bucket below.
        bounds: (b,) upper bounds, increasing, the last one infinite.
        q: between 0 and 1.

    A quantile in the last bucket is the highest finite bound: a lower estimate. Rows without growth are NaN.
    """
    if grown.shape[1] < 2:
        return np.full(len(grown), np.nan)
    # A scrape is no snapshot: neighbouring buckets can be read a moment apart and seem to shrink.
    rising = np.maximum.accumulate(np.nan_to_num(grown, nan=0.0, posinf=0.0), axis=1)
    total = rising[:, -1]
    rank = q * total
    at = np.argmax(rising >= rank[:, None], axis=1)
    row = np.arange(len(grown))
    lower = np.where(at > 0, bounds[np.maximum(at - 1, 0)], 0.0)
    below = np.where(at > 0, rising[row, np.maximum(at - 1, 0)], 0.0)
    inside = rising[row, at] - below
    share = np.divide(rank - below, inside, out=np.ones_like(rank), where=inside > 0)
    upper = np.where(np.isinf(bounds[at]), lower, bounds[at])
    found = lower + (upper - lower) * share
    return np.where((total > 0) & np.isfinite(grown[:, -1]), found, np.nan)


def least_count(q: float) -> int:
    """Fewest requests for quantile `q`: one is expected beyond it; 100 for the 99th percentile."""
    return max(LEAST, math.ceil(1 / (1 - q) - 1e-9))


def mean(total: Floats, count: Floats) -> Floats:
    """Total / count, NaN where nothing was counted."""
    found: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return found
