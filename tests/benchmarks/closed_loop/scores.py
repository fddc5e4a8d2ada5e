"""The scores: pure functions of what clients saw and of the clairvoyant optimum, per second.

Goodput is requests answered well within the SLO. `optimum` is the clairvoyant's fair rates. Both have the shape
(classes, seconds), requests per second, for the same arrivals; windows are whole seconds [start, end).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RECOVERED_SHARE = 0.95
RECOVERED_OVER_S = 3
SETTLED_SHARE = 0.92
SETTLED_LEAST = 0.85
"""No window may fall below this: about three standard deviations of 750 completions below the median."""
SETTLED_OVER_S = 5


def share(goodput: Floats, optimum: Floats, start: int, end: int) -> float:
    """All goodput over all that was possible; NaN where nothing was. Blind to which class is served."""
    best = optimum[:, start:end].sum()
    return float(goodput[:, start:end].sum() / best) if best > 0 else math.nan


def share_by_class(goodput: Floats, optimum: Floats, start: int, end: int) -> float:
    """As `share`, but what a class gets beyond its own optimum makes up for no other class."""
    best = optimum[:, start:end].sum(axis=1)
    reached = np.minimum(goodput[:, start:end].sum(axis=1), best)
    return float(reached.sum() / best.sum()) if best.sum() > 0 else math.nan


def window_shares(goodput: Floats, optimum: Floats, start: int, end: int, width: int) -> Floats:
    """Share of the optimum in each window of `width` s, sliding by 1 s, that lies within [start, end)."""
    reached, best = goodput[:, start:end].sum(axis=0), optimum[:, start:end].sum(axis=0)
    if len(best) < width:
        return np.zeros(0)
    ones = np.ones(width)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.convolve(reached, ones, "valid") / np.convolve(best, ones, "valid"))


def recovery_s(goodput: Floats, optimum: Floats, start: int, end: int) -> float:
    """Seconds from `start` until goodput is back for good: every 3 s window from then on has 95 % of the optimum.

    Infinite if that never happens before `end`.
    """
    shares = window_shares(goodput, optimum, start, end, RECOVERED_OVER_S)
    bad = np.flatnonzero(~np.greater_equal(shares, RECOVERED_SHARE))
    first = 0 if len(bad) == 0 else int(bad[-1]) + 1
    return float(first) if first < len(shares) else math.inf


def settling_s(goodput: Floats, optimum: Floats, start: int, end: int) -> float:
    """Seconds from `start` until settled: of all later 5 s windows the median has 92 % of the optimum, each 85 %.

    Infinite if that never happens before `end`.
    """
    shares = window_shares(goodput, optimum, start, end, SETTLED_OVER_S)
    for first in range(len(shares)):
        later = shares[first:]
        if later.min() >= SETTLED_LEAST and float(np.median(later)) >= SETTLED_SHARE:
            return float(first)
    return math.inf


def jain(values: Floats) -> float:
    """Jain's fairness index, 1/n .. 1: (sum x)^2 / (n sum x^2), Jain, Chiu & Hawe 1984; NaN for all zeros."""
    squares = float(np.square(values).sum())
    return float(values.sum() ** 2 / (len(values) * squares)) if squares > 0 else math.nan


def fairness(goodput: Floats, optimum: Floats, start: int, end: int) -> float:
    """Jain's index of goodput over fair share, one value a class."""
    best = optimum[:, start:end].sum(axis=1)
    return jain(goodput[:, start:end].sum(axis=1)[best > 0] / best[best > 0])
