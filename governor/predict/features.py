"""What the forecaster looks at, the same for training and for serving.

Everything is relative to a service's own level L (mean of the last hour, but at least a tenth of the last day's):

    z(x) = log(x / L + 0.05)

so that twice the load gives the same features and, scaled back, twice the forecast. One global model then serves
all services, also those it has never seen. The offset keeps a silent minute finite. Features are in hours and
minutes, not in steps, so that one model serves grids of 1 minute and of 5. The hour of the day is not among them:
it means another thing to each service, whose own day is in the columns of yesterday and last week; of the
calendar there is only the weekend (UTC), as yesterday tells little where a working day follows a Sunday. Source:
global forecasting models, Montero-Manso and Hyndman 2021; the log ratio to the same time yesterday is the
multiplicative seasonal index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.history import DAY_S, RateHistory, rates_only

OFFSET = 0.05
"""In z: a rate of zero is log(0.05) below the level."""
Precision = TypeVar("Precision", bound=np.floating)
HORIZONS_MIN = (1, 5, 15, 30, 60)
"""Minutes ahead that the governor asks for."""
LOOK_BACK_S = 8.0 * DAY_S
"""Nothing before it matters: last week, and the windows around it."""
CHANGES = 96
"""Changes that a mean absolute change is taken over."""
_MEANS_MIN = (5, 10, 15, 30, 60, 120, 240, 720, 1440)
_AROUND_S = 5_400.0
"""Half of what is summed up around this time last week: the farthest horizon and half the widest window."""
_WINDOWS_S = (900.0, 3600.0)
"""Widths of the windows around the same time yesterday and last week."""
NAMES: tuple[str, ...] = (
    "horizon_log_min",
    "step_log_min",
    *(f"last_{i}" for i in range(1, 5)),
    *(f"mean_{m}_min" for m in _MEANS_MIN),
    *(f"yesterday_{round(w / 60)}_min" for w in _WINDOWS_S),
    *(f"yesterday_growth_{round(w / 60)}_min" for w in _WINDOWS_S),
    *(f"last_week_{round(w / 60)}_min" for w in _WINDOWS_S),
    *(f"last_week_growth_{round(w / 60)}_min" for w in _WINDOWS_S),
    "trend_30_min",
    "trend_2_h",
    "roughness_1_h",
    "roughness_1_day",
    "change_over_horizon_1_day",
    "spread_1_h",
    "weekend",
    "weekend_yesterday",
)


@dataclass(frozen=True, eq=False)
class Features:
    """One row for each service and horizon, services slowest."""

    rows: FloatArray
    """(S * H, F) in the order of NAMES; NaN where the history says nothing."""
    level: NDArray[np.float64]
    """(S,) what a row is relative to, in the history's unit; NaN where there is no load to be relative to."""


def feature_hash() -> str:
    """Changes with whatever changes the meaning of a column; model and server must agree on it."""
    text = "|".join(("v2", *NAMES, f"{OFFSET}", *(f"{w}" for w in _WINDOWS_S)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_z(values: NDArray[np.floating], level: NDArray[Precision]) -> NDArray[Precision]:
    """log(values / level + OFFSET), NaN where either is unknown."""
    return np.log(np.asarray(values / level + OFFSET, level.dtype))


def from_z(z: NDArray[np.floating], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `to_z`, never below zero."""
    return np.asarray(np.maximum(np.exp(z) - OFFSET, 0.0) * level)


def features(
    history: RateHistory, horizons_min: Sequence[float], ends_at: NDArray[np.float64] | None = None
) -> Features:
    """Rows of all services of `history` for the horizons, from the history's end on; no loop over services.

    `ends_at` (S,) says when the row of each service ends, where they are not all at the history's end.
    """
    past = _Past(history, history.end_at if ends_at is None else ends_at)
    day = past.mean(DAY_S)
    level = np.fmax(past.mean(3600.0), 0.1 * day)
    level = np.where(level > 0.0, level, np.nan)
    fixed = _fixed(past, level)
    horizons = np.asarray(horizons_min, dtype=np.float64)
    rows = np.empty((len(history.values), len(horizons), len(NAMES)), np.float32)
    for h, minutes in enumerate(horizons):
        columns = {**fixed, **_at_horizon(past, level, float(minutes))}
        for f, name in enumerate(NAMES):
            rows[:, h, f] = columns[name]
    return Features(rows.reshape(-1, len(NAMES)), level)


class _Past:
    """Means over windows of the past, in seconds before the end; NaN where nothing in a window is known.

    The last day, and the hours around this time last week, are turned to one row a step, which numpy goes through
    several times as fast, and summed up once; what lies elsewhere is only read where a window asks for it.
    """

    def __init__(self, history: RateHistory, end_at: float | NDArray[np.float64]) -> None:
        self.end_at, self.step_s, self.steps = end_at, history.step_s, history.steps
        self._history, self.width = history, history.values.shape[1]
        newest = history.newest(self.steps(DAY_S) + self.steps(3600.0))
        self._recent = _Sums(newest, self.width - newest.shape[1])
        week, hours = self.width - self.steps(7.0 * DAY_S), self.steps(_AROUND_S)
        there = slice(max(0, week - hours), max(0, week + hours))
        self._last_week = _Sums(rates_only(history.values[:, there]), there.start)

    @property
    def recent(self) -> FloatArray:
        """(T, S)."""
        return self._recent.rows

    def mean(self, seconds: float, ending_s: float = 0.0) -> NDArray[np.float64]:
        """(S,) mean over the window of `seconds` that ended `ending_s` before the end."""
        stop = max(0, self.width - round(ending_s / self.step_s))
        start = max(0, stop - self.steps(seconds))
        for sums in (self._recent, self._last_week):
            if sums.first <= start and stop <= sums.end:
                return sums.mean(start, stop)
        return _mean_known(rates_only(self._history.values[:, start:stop]).T)

    def change(self, lag: int, seconds: float) -> NDArray[np.float64]:
        """(S,) mean absolute change over `lag` steps, of at most CHANGES that ended in the last `seconds`."""
        width = len(self.recent)
        first = max(lag, width - self.steps(seconds))
        apart = max(1, self.steps(seconds) // CHANGES)
        if first >= width:
            return np.full(self.recent.shape[1], np.nan)
        start = width - 1 - (width - 1 - first) // apart * apart
        later, earlier = self.recent[start::apart], self.recent[start - lag : width - lag : apart]
        return self.mean_known(np.abs(later - earlier))

    def mean_known(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(S,) mean over the rows of `values`, which are made of `recent` alone."""
        if self._recent.whole:
            return np.asarray(values.mean(axis=0, dtype=np.float32), np.float64)
        return _mean_known(values)


class _Sums:
    """Running sums of the steps from `first` on."""

    def __init__(self, values: FloatArray, first: int) -> None:
        """values: (S, T), NaN where unknown."""
        self.rows: FloatArray = np.ascontiguousarray(values.T)
        """(T, S)."""
        self.first, self.end = first, first + len(self.rows)
        known = np.isfinite(self.rows)
        self.whole = bool(known.all())
        filled = self.rows if self.whole else np.where(known, self.rows, np.float32(0.0))
        self._totals = _running(filled, np.float64)
        self._counts = None if self.whole else _running(known, np.int32)

    def mean(self, start: int, stop: int) -> NDArray[np.float64]:
        """(S,) mean over the steps from `start` to `stop`, none before `first` and none from `end` on."""
        first, last = start - self.first, stop - self.first
        total = self._totals[last] - self._totals[first]
        count = last - first if self._counts is None else self._counts[last] - self._counts[first]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _running(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """(T + 1, S) sums of the first 0, 1, ... T rows."""
    sums = np.zeros((len(values) + 1, values.shape[1]), kind)
    for step, row in enumerate(values):
        # numpy's cumsum over the first axis takes three times as long.
        np.add(sums[step], row, out=sums[step + 1])
    return sums


def _mean_known(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S,) mean over the rows of what is not NaN; NaN where nothing is, or there are no rows."""
    known = np.isfinite(values)
    count = known.sum(axis=0, dtype=np.int32)
    total = np.where(known, values, np.float32(0.0)).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _fixed(past: _Past, level: NDArray[np.float64]) -> dict[str, NDArray[np.float64] | float]:
    """The columns that are the same for all horizons."""
    columns: dict[str, NDArray[np.float64] | float] = {"step_log_min": float(np.log(past.step_s / 60.0))}
    for i in range(1, 5):
        columns[f"last_{i}"] = to_z(past.mean(past.step_s, (i - 1) * past.step_s), level)
    means = {minutes: to_z(past.mean(minutes * 60.0), level) for minutes in _MEANS_MIN}
    columns |= {f"mean_{minutes}_min": z for minutes, z in means.items()}
    columns["trend_30_min"] = means[30] - to_z(past.mean(1800.0, 1800.0), level)
    columns["trend_2_h"] = means[120] - to_z(past.mean(7200.0, 7200.0), level)
    columns["roughness_1_h"] = to_z(past.change(1, 3600.0), level)
    columns["roughness_1_day"] = to_z(past.change(1, DAY_S), level)
    distance = np.abs(past.recent[-past.steps(3600.0) :] - past.mean(3600.0).astype(np.float32))
    columns["spread_1_h"] = to_z(past.mean_known(distance), level)
    return columns


def _at_horizon(
    past: _Past, level: NDArray[np.float64], minutes: float
) -> dict[str, NDArray[np.float64] | float]:
    """The columns that belong to one horizon."""
    columns: dict[str, NDArray[np.float64] | float] = {"horizon_log_min": float(np.log(minutes))}
    for name, ago in (("yesterday", DAY_S), ("last_week", 7.0 * DAY_S)):
        for width in _WINDOWS_S:
            ending = ago - minutes * 60.0 - (width - past.step_s) / 2.0
            then, there = past.mean(width, ending), past.mean(width, ago)
            column = f"{name}_{{}}{round(width / 60)}_min"
            columns[column.format("")] = to_z(then, level)
            columns[column.format("growth_")] = np.log((then + OFFSET * level) / (there + OFFSET * level))
    columns["change_over_horizon_1_day"] = to_z(past.change(past.steps(minutes * 60.0), DAY_S), level)
    moment = past.end_at + minutes * 60.0
    # The epoch began on a Thursday.
    weekday = (moment // DAY_S + 3) % 7
    for name, day in (("weekend", weekday), ("weekend_yesterday", (weekday - 1) % 7)):
        columns[name] = np.asarray(day >= 5, np.float64)
    return columns
