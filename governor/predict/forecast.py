"""Demand quantiles of all services: the model where its gate is open, the better baseline elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.predict.baseline import naive, season_is_better, seasonal
from governor.predict.features import HORIZONS_MIN, features, from_z, to_z
from governor.predict.gate import Gate, gates
from governor.predict.history import RateHistory, newest_known, rates_only
from governor.predict.mixture import CENTRES, centres
from governor.predict.model import QUANTILES, TrainedForecast, raw_quantiles
from governor.predict.online import Online, Told
from governor.predict.online import quantiles as served


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is expected of S services at H horizons."""

    horizons_min: tuple[float, ...]
    """Minutes ahead; none is shorter than a step of the history."""
    quantiles: NDArray[np.float64]
    """(S, H, 3) quantiles 0.1, 0.5 and 0.9 in the history's unit, never decreasing; NaN where unknown."""
    told: Told
    """What `online.learn` takes once the outcomes are known."""
    level: NDArray[np.float64]
    """(S,) what z is relative to."""
    gate: NDArray[np.int8]
    """(S,) Gate: what served each service and why."""


def forecast(
    history: RateHistory,
    trained: TrainedForecast | None,
    online: Online | None,
    horizons_min: Sequence[float] = HORIZONS_MIN,
) -> Forecast:
    """Quantiles from the history's end on; without a model, all services get the baseline.

    `online` is over the same services and horizons, with a model always there. A horizon shorter than the
    history's step is answered for one step: nothing finer is known.
    """
    assert (trained is None) == (online is None)
    horizons = horizons_on(horizons_min, history.step_s)
    services = len(history.values)
    gate = gates(history, None if online is None else online.calibration)
    scale = np.full(services, np.nan)
    quantiles = np.full((services, len(horizons), len(QUANTILES)), np.nan)
    told = Told(quantiles, np.full((*quantiles.shape[:2], CENTRES), np.nan), scale, np.zeros(services, np.bool_))
    if trained is not None and online is not None and services:
        # Horizons shorter than a step are one and the same.
        apart, place = np.unique(horizons, return_inverse=True)
        made = features(history, apart.tolist())
        scale = made.level
        raw = raw_quantiles(trained.model, made.rows).reshape(services, len(apart), len(QUANTILES))[:, place]
        raw[np.isnan(scale)] = np.nan
        newest = to_z(newest_known(history), scale)
        rows = made.rows.reshape(services, len(apart), -1)
        told = Told(raw, centres(rows, newest)[:, place], scale, online.surprised)
        quantiles = from_z(served(online, told), scale[:, None, None])
    elsewhere = gate != Gate.MODEL
    if elsewhere.any():
        rest = history
        if not elsewhere.all():
            rest = RateHistory(history.values[elsewhere], history.end_at, history.step_s)
        quantiles[elsewhere] = baseline(rest, horizons)
        quantiles[gate == Gate.STALE] = np.nan
    return Forecast(horizons, quantiles, told, scale, gate)


def horizons_on(horizons_min: Sequence[float], step_s: float) -> tuple[float, ...]:
    """`horizons_min`, none of them shorter than a step of the history."""
    return tuple(max(float(minutes), step_s / 60.0) for minutes in horizons_min)


def outcomes(made: Forecast, made_at: float, history: RateHistory) -> NDArray[np.float64]:
    """(S, H) in z what came true of `made` in the newest step of `history`; NaN where it was of another moment.

    `made_at` is the end of the history that it was made from. Its services are those of `history`, in that order.
    """
    ahead = history.end_at - made_at
    due = np.abs(np.asarray(made.horizons_min) * 60.0 - ahead) < history.step_s / 2.0
    newest = to_z(rates_only(history.values[:, -1]), made.level)
    return np.where(due, newest[:, None], np.nan)


def baseline(history: RateHistory, horizons_min: Sequence[float]) -> NDArray[np.float64]:
    """(S, H, 3) the naive or the seasonal naive, whichever erred less over the last day, per horizon."""
    apart, place = np.unique(horizons_min, return_inverse=True)
    plain = naive(history, apart.tolist(), QUANTILES)
    daily = seasonal(history, apart.tolist(), QUANTILES)
    for h, minutes in enumerate(apart):
        better = season_is_better(history, float(minutes)) & np.isfinite(daily[:, h]).all(axis=-1)
        plain[better, h] = daily[better, h]
    return _silent(history, plain[:, place])


def _silent(history: RateHistory, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero where the newest value is zero and there is no level to scale by."""
    silent = np.isnan(quantiles).all(axis=(1, 2)) & (newest_known(history) == 0.0)
    quantiles[silent] = 0.0
    return quantiles
