"""How much chance there is in a ratio of losses: the days of each series, resampled.

    ratio_r = sum of ours over the days of draw r / sum of theirs over the same days,   R draws with replacement

Hours of one day err together, days much less so: a day of one series is the block. One day of crowds can decide
the ratio of a whole series, and then the interval says so. Source: Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapters 8 and 13; blocks after Kuensch, 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.predict.history import DAY_S
from governor.train.score import pinball
from governor.train.windows import Quantiles, Windows

DRAWS = 2_000
LEVELS = (0.05, 0.95)
FEWEST_DAYS = 7
"""Of fewer, the ratio itself is all that is said."""


@dataclass(frozen=True)
class Interval:
    """A ratio of losses, and where 90 % of the resampled ones lie."""

    ratio: float
    low: float
    high: float


def losses_by_day(windows: Sequence[Windows], said: Sequence[Quantiles]) -> NDArray[np.float64]:
    """(D,) twice the pinball loss of what is scored, summed over each day of each series."""
    found: list[NDArray[np.float64]] = []
    for one, quantiles in zip(windows, said, strict=True):
        told = np.isfinite(one.actual) & one.scored[:, None]
        loss = np.zeros(one.actual.shape)
        loss[told] = pinball(one.actual[told], quantiles[told])
        counted = told.any(axis=1)
        days = (one.series.history.ends(one.origins[counted]) // DAY_S).astype(np.int64)
        _, place = np.unique(days, return_inverse=True)
        found.append(np.bincount(place, loss[counted].sum(axis=1)).astype(np.float64))
    return np.concatenate(found) if found else np.empty(0)


def interval(ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int = 0) -> Interval:
    """The ratio of the sums of two losses by day (D,), with its interval; the same seed gives the same."""
    ratio = float(_over(ours.sum(keepdims=True), theirs.sum(keepdims=True))[0])
    if len(ours) < FEWEST_DAYS:
        return Interval(ratio, ratio, ratio)
    drawn = np.random.default_rng(seed).integers(0, len(ours), (DRAWS, len(ours)))
    low, high = np.quantile(_over(ours[drawn].sum(axis=1), theirs[drawn].sum(axis=1)), LEVELS)
    return Interval(ratio, float(low), float(high))


def _over(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    # Who makes no error at all is beaten by nobody, and beats nobody who makes none either.
    return np.maximum(ours, 1e-12) / np.maximum(theirs, 1e-12)
