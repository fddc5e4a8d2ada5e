"""Naive forecasts with quantiles: what any model has to beat, and what serves where no model may.

    naive:           q-quantile at t + h = from_z(z(t) + Q_q[z(u) - z(u - h)])
    seasonal naive:  q-quantile at t + h = from_z(z(t + h - P) + Q_q[z(u) - z(u - P)]),  P one day or one week

z is the log of the rate over its own level, u runs over the last day (the last period for the seasonal one), Q_q
is the empirical quantile. Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 5.2 and 5.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.features import from_z, to_z
from governor.predict.history import DAY_S, RateHistory, newest_known

FEWEST_CHANGES = 12
"""Changes a quantile is taken of; with fewer the width is WIDTH_PER_ROOT_HOUR instead."""
WIDTH_PER_ROOT_HOUR = np.log(2.0)
"""Half width of the 80 % band in z where the own history is too short: a factor of two within the hour."""
_NORMAL_90 = 1.2815515655446004


def level(history: RateHistory) -> NDArray[np.float64]:
    """(S,) mean of the last day, NaN without load."""
    recent = history.newest(history.steps(DAY_S))
    known = np.isfinite(recent)
    mean = np.where(known, recent, 0.0).sum(axis=1, dtype=np.float64) / np.maximum(known.sum(axis=1), 1)
    return np.where(mean > 0.0, mean, np.nan)


def naive(history: RateHistory, horizons_min: Sequence[float], quantiles: Sequence[float]) -> NDArray[np.float64]:
    """(S, H, Q) the newest known value with the spread of the last day's changes; NaN where there is none."""
    scale = level(history)
    day, farthest = history.steps(DAY_S), history.steps(60.0 * max(horizons_min, default=0.0))
    z = _z(history, day + farthest, scale)
    newest = to_z(newest_known(history), scale)
    forecast = np.full((len(z), len(horizons_min), len(quantiles)), np.nan)
    for h, minutes in enumerate(horizons_min):
        lag = history.steps(minutes * 60.0)
        spread = _spread(z, lag, day, minutes * 60.0, quantiles)
        forecast[:, h] = from_z(newest[:, None] + spread, scale[:, None])
    return np.sort(forecast, axis=-1)


def seasonal(
    history: RateHistory,
    horizons_min: Sequence[float],
    quantiles: Sequence[float],
    period_s: float = DAY_S,
) -> NDArray[np.float64]:
    """(S, H, Q) the value one period before, with the spread of the last period's changes; NaN where unknown."""
    scale = level(history)
    period = history.steps(period_s)
    z = _z(history, 2 * period, scale)
    forecast = np.full((len(z), len(horizons_min), len(quantiles)), np.nan)
    spread = _spread(z, period, period, 3600.0, quantiles)
    for h, minutes in enumerate(horizons_min):
        then = z.shape[1] - 1 + history.steps(minutes * 60.0) - period
        if 0 <= then < z.shape[1]:
            forecast[:, h] = from_z(z[:, [then]] + spread, scale[:, None])
    return np.sort(forecast, axis=-1)


def season_is_better(history: RateHistory, minutes: float) -> NDArray[np.bool_]:
    """(S,) whether the value of yesterday erred less over the last day than the one of `minutes` before."""
    day, lag = history.steps(DAY_S), history.steps(minutes * 60.0)
    values = history.newest(2 * day)
    if values.shape[1] < day + 1:
        return np.zeros(len(values), dtype=np.bool_)
    width = values.shape[1] - day
    daily = np.abs(values[:, day:] - values[:, :width])
    recent = np.abs(values[:, day:] - values[:, day - lag : day - lag + width])
    both = np.isfinite(daily) & np.isfinite(recent)
    enough = both.sum(axis=1) >= FEWEST_CHANGES
    errors = [np.where(both, one, 0.0).sum(axis=1, dtype=np.float64) for one in (daily, recent)]
    return np.asarray(enough & (errors[0] < errors[1]))


def _z(history: RateHistory, steps: int, scale: NDArray[np.float64]) -> FloatArray:
    """(S, steps) the newest steps in z; single precision, which sorts several times as fast."""
    return to_z(history.newest(steps), scale[:, None].astype(np.float32))


def _spread(
    z: FloatArray, lag: int, over: int, seconds: float, quantiles: Sequence[float]
) -> NDArray[np.float64]:
    """(S, Q) empirical quantiles of the changes over `lag` steps, of the last `over` of them."""
    wide = np.array([_normal(q) for q in quantiles]) * WIDTH_PER_ROOT_HOUR * np.sqrt(seconds / 3600.0)
    spread = np.tile(wide, (len(z), 1))
    first = max(lag, z.shape[1] - over)
    changes = z[:, first:] - z[:, first - lag : z.shape[1] - lag] if first < z.shape[1] else z[:, :0]
    enough = np.isfinite(changes).sum(axis=1) >= FEWEST_CHANGES
    if enough.any():
        spread[enough] = _quantiles(changes[enough], quantiles)
    return spread


def _quantiles(values: FloatArray, quantiles: Sequence[float]) -> NDArray[np.float64]:
    """(N, Q) of what is known in each row of (N, T), linear between two values; each row knows at least one.

    numpy's nanquantile goes through the rows one by one, which takes seconds for 10,000 services.
    """
    ordered = np.sort(values, axis=1)  # NaN last
    last = np.isfinite(values).sum(axis=1) - 1
    place = last[:, None] * np.asarray(quantiles)
    low = np.floor(place).astype(np.intp)
    rows = np.arange(len(values))[:, None]
    below, above = ordered[rows, low], ordered[rows, np.minimum(low + 1, last[:, None])]
    return np.asarray(below + (above - below) * (place - low), np.float64)


def _normal(q: float) -> float:
    """The normal quantile in units of its 90 % point, for a width where nothing is known."""
    return NormalDist().inv_cdf(q) / _NORMAL_90
