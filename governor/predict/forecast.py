"""Demand quantiles of all services: the model where its gate is open, the better baseline elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.predict.baseline import naive, season_is_better, seasonal
from governor.predict.calibration import Calibration, calibrated
from governor.predict.features import HORIZONS_MIN, features, from_z, to_z
from governor.predict.gate import Gate, gates
from governor.predict.history import RateHistory, newest_known
from governor.predict.model import QUANTILES, TrainedForecast, raw_quantiles


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is expected of S services at H horizons."""

    horizons_min: tuple[float, ...]
    """Minutes ahead; none is shorter than a step of the history."""
    quantiles: NDArray[np.float64]
    """(S, H, 3) quantiles 0.1, 0.5 and 0.9 in the history's unit, never decreasing; NaN where nothing can be said."""
    raw_z: NDArray[np.float64]
    """(S, H, 3) the model's quantiles before calibration, in z; NaN where there was no model or no level."""
    newest_z: NDArray[np.float64]
    """(S,) the last known value in z: with `raw_z` what `calibration.learn` takes once the outcomes are known."""
    level: NDArray[np.float64]
    """(S,) what z is relative to."""
    gate: NDArray[np.int8]
    """(S,) Gate: what served each service and why."""


def forecast(
    history: RateHistory,
    trained: TrainedForecast | None,
    calibration: Calibration | None,
    horizons_min: Sequence[float] = HORIZONS_MIN,
) -> Forecast:
    """Quantiles from the history's end on; without a model, all services get the baseline.

    `calibration` is over the same services and horizons, with a model always there. A horizon shorter than the
    history's step is answered for one step: nothing finer is known.
    """
    assert (trained is None) == (calibration is None)
    horizons = tuple(max(float(minutes), history.step_s / 60.0) for minutes in horizons_min)
    services = len(history.values)
    gate = gates(history, calibration)
    raw, scale = np.full((services, len(horizons), len(QUANTILES)), np.nan), np.full(services, np.nan)
    quantiles = np.full_like(raw, np.nan)
    if trained is not None and calibration is not None and services:
        # Horizons shorter than a step are one and the same.
        apart, place = np.unique(horizons, return_inverse=True)
        made = features(history, apart.tolist())
        scale = made.level
        raw = raw_quantiles(trained.model, made.rows).reshape(services, len(apart), len(QUANTILES))[:, place]
        raw[np.isnan(scale)] = np.nan
        quantiles = from_z(calibrated(calibration, raw), scale[:, None, None])
    elsewhere = gate != Gate.MODEL
    if elsewhere.any():
        rest = RateHistory(history.values[elsewhere], history.end_at, history.step_s)
        quantiles[elsewhere] = baseline(rest, horizons)
    return Forecast(horizons, quantiles, raw, to_z(newest_known(history), scale), scale, gate)


def baseline(history: RateHistory, horizons_min: Sequence[float]) -> NDArray[np.float64]:
    """(S, H, 3) per service and horizon the naive or the seasonal naive, whichever erred less over the last day."""
    plain = naive(history, horizons_min, QUANTILES)
    daily = seasonal(history, horizons_min, QUANTILES)
    for h, minutes in enumerate(horizons_min):
        better = season_is_better(history, minutes) & np.isfinite(daily[:, h]).all(axis=-1)
        plain[better, h] = daily[better, h]
    return _silent(history, plain)


def _silent(history: RateHistory, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero where the newest value is zero and there is no level to scale by."""
    silent = np.isnan(quantiles).all(axis=(1, 2)) & (newest_known(history) == 0.0)
    quantiles[silent] = 0.0
    return quantiles
