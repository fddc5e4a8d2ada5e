"""Held-back time as a row of forecasts with what came true and what the naive forecasts said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.baseline import naive, seasonal
from governor.predict.calibration import calibrated
from governor.predict.features import LOOK_BACK_S, features, from_z, to_z
from governor.predict.gate import drifted
from governor.predict.history import RateHistory, newest_known
from governor.predict.mixture import centres
from governor.predict.model import QUANTILES, Prior, QuantileModel, raw_quantiles
from governor.predict.online import Told, begin, learn, quantiles
from governor.train.dataset import BLOCK, WARM_UP_S, Tick, horizons_of
from governor.train.series import Series, Split

EVERY_S = 900.0
"""Between two origins; one an hour is scored, the others are there to learn from as often as a governor would."""
SCORED_S = 3600.0
ORIGINS = 6_000
"""Most origins for each group; larger groups are looked at less often."""
Quantiles = NDArray[np.float64]
"""(O, H, 3)."""


@dataclass(frozen=True, eq=False)
class Windows:
    """One series: O origins in time order, H horizons."""

    series: Series
    unseen: bool
    """Whether the series took no part in the training."""
    horizons_min: NDArray[np.float64]
    """(H,)."""
    origins: NDArray[np.intp]
    """(O,) steps known at each."""
    scored: NDArray[np.bool_]
    """(O,) the others are there for calibration to learn from first."""
    rows: FloatArray
    """(O, H, F)."""
    level: NDArray[np.float64]
    """(O,)."""
    actual: NDArray[np.float64]
    """(O, H) in the series' unit; NaN where unknown, or where no method could have a say."""
    newest_z: NDArray[np.float64]
    """(O,) the last known value at each origin."""
    naive: Quantiles
    seasonal: Quantiles
    """A day before; the naive forecast where there is no yesterday."""


def windows_of(
    series: Sequence[Series], unseen: frozenset[str], split: Split, tick: Tick | None = None
) -> list[Windows]:
    """Windows of all series that have any, in the order given."""
    sizes = {
        group: sum(len(_origins(one, split, 1)) for one in series if one.group == group)
        for group in {one.group for one in series}
    }
    windows = (
        delayed(_window)(one, one.name in unseen, _origins(one, split, -(-sizes[one.group] // ORIGINS)), split)
        for one in series
    )
    made = []
    # Where they run is for the caller to say, by joblib.parallel_config.
    for done, window in enumerate(Parallel(return_as="generator")(windows)):
        if window is not None:
            made.append(window)
        if tick is not None:
            tick(done + 1, len(series))
    return made


def model_quantiles(windows: Windows, model: QuantileModel, prior: Prior, *, online: bool = True) -> Quantiles:
    """What would have served at each origin: `model`, calibrated by `prior`.

    If `online`, weights and calibration learn from all outcomes known by then, and where the model has lost the
    series the naive forecast serves, as in `predict.forecast`; else it is the model alone with the calibration of
    `prior`.
    """
    shape = windows.rows.shape
    raw = raw_quantiles(model, windows.rows.reshape(-1, shape[-1])).reshape(*shape[:2], len(QUANTILES))
    outcome = to_z(windows.actual, windows.level[:, None])
    state = begin(prior, 1, [float(minutes) for minutes in windows.horizons_min])
    said, lost = np.empty_like(raw), np.zeros(len(raw), np.bool_)
    if not online:
        return from_z(calibrated(state.calibration, raw), windows.level[:, None, None])
    apart = int(windows.origins[1] - windows.origins[0]) if len(raw) > 1 else 1
    later = -(-len(windows.horizons_min) // apart)
    told: list[Told] = []
    for origin in range(len(raw)):
        if origin >= later:
            # Of this origin, the last outcome has just become known.
            then = origin - later
            state = learn(state, told[then], outcome[[then]])
        one = slice(origin, origin + 1)
        around = centres(windows.rows[one], windows.newest_z[one])
        told.append(Told(raw[one], around, windows.level[one], state.surprised))
        said[origin] = quantiles(state, told[origin])[0]
        lost[origin] = drifted(state.calibration)[0]
    return np.where(lost[:, None, None], windows.naive, from_z(said, windows.level[:, None, None]))


def _origins(one: Series, split: Split, stride: int) -> NDArray[np.intp]:
    history = one.history
    steps, ahead = history.values.shape[1], len(horizons_of(history))
    first = max(int(split.fit * steps), history.steps(WARM_UP_S))
    return np.arange(first, int(split.until * steps) - ahead + 1, stride * history.steps(EVERY_S))


def _scored(origins: NDArray[np.intp], history: RateHistory) -> NDArray[np.bool_]:
    """(O,) one an hour, all if they are no closer."""
    apart = int(origins[1] - origins[0]) if len(origins) > 1 else 1
    return np.asarray(np.arange(len(origins)) % max(1, history.steps(SCORED_S) // apart) == 0)


def _window(one: Series, unseen: bool, origins: NDArray[np.intp], split: Split) -> Windows | None:
    if not len(origins):
        return None
    history, horizons = one.history, horizons_of(one.history)
    ahead, minutes = np.arange(len(horizons)), horizons.tolist()
    rows, level, newest, plain, daily = [], [], [], [], []
    for start in range(0, len(origins), BLOCK):
        block = origins[start : start + BLOCK]
        past = history.each_until(block, LOOK_BACK_S)
        made = features(past, minutes, history.ends(block))
        rows.append(made.rows.reshape(len(block), len(horizons), -1))
        level.append(made.level)
        newest.append(to_z(newest_known(past), made.level))
        plain.append(naive(past, minutes, QUANTILES))
        seasons = seasonal(past, minutes, QUANTILES)
        daily.append(np.where(np.isfinite(seasons), seasons, plain[-1]))
    actual = history.values[0][origins[:, None] + ahead].astype(np.float64)
    levels, naives = np.concatenate(level), np.concatenate(plain)
    said = np.isfinite(levels)[:, None] & np.isfinite(naives).all(axis=-1)
    return Windows(
        one,
        unseen,
        horizons,
        origins,
        _scored(origins, history) & (origins >= int(split.score * history.values.shape[1])),
        np.concatenate(rows),
        levels,
        np.where(said, actual, np.nan),
        np.concatenate(newest),
        naives,
        np.concatenate(daily),
    )
