"""How much chance there is in a ratio of losses: its days, resampled.

    ratio_r = sum of ours over the days of draw r / sum of theirs over the same days,   R draws with replacement

What errs together is drawn together: the hours of a day do, and so do the services of a mesh. The block is a day
of the calendar with all that a group has of it. One day of crowds can decide the ratio of a whole group, and then
the interval says so. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13;
blocks after Kuensch, 1989.
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
    """(D,) twice the pinball loss of what is scored, summed over each day (UTC), in order of time."""
    days: list[NDArray[np.int64]] = []
    losses: list[NDArray[np.float64]] = []
    for one, quantiles in zip(windows, said, strict=True):
        told = np.isfinite(one.actual) & one.scored[:, None]
        loss = np.zeros(one.actual.shape)
        loss[told] = pinball(one.actual[told], quantiles[told])
        counted = told.any(axis=1)
        days.append((one.series.history.ends(one.origins[counted]) // DAY_S).astype(np.int64))
        losses.append(loss[counted].sum(axis=1))
    if not days:
        return np.empty(0)
    _, place = np.unique(np.concatenate(days), return_inverse=True)
    return np.bincount(place, np.concatenate(losses)).astype(np.float64)


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
