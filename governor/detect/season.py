"""How far a series is from what it usually does at this hour, on a day like this.

    r       = x - usual_k                       k: the hour (UTC), of a weekday or of the weekend
    usual_k <- usual_k + w (mean of x over the hour - usual_k),   w = max(1 / n_k, 1 / 14),
                                                once the n_k-th such hour is over

A peak that does not come, or an afternoon as quiet as a night, lies within all that the series did before:
`level` cannot see it, r can. r and its trends have envelopes as x and its trends have, heard in the same way.

Nothing is judged before a week was seen: without it, the first quiet weekend would be one long finding.
Source: the seasonal means of Winters, Forecasting sales by exponentially weighted moving averages, Management
Science 6 (1960) 324, of an hour each and without a trend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor.detect import conformal, level

Array = NDArray[np.float64]
Hours = NDArray[np.int64]
HOUR_S, WEEK_S = 3_600.0, 7 * 86_400.0
KINDS = 48
"""Hours of a weekday, then those of a day of the weekend."""
MEMORY = 14.0
"""Hours of a kind that are remembered."""
_VALUE_AND_TRENDS = slice(0, 4)
VIEWS = tuple(f"{name} against the usual of the hour" for name in level.VIEWS[_VALUE_AND_TRENDS])
FAMILIES = level.FAMILIES[:2]
SHARES = (0.6, 0.4)
"""Of the error that is allowed, what `level` and the season get: each family of views as much."""


@dataclass(frozen=True, eq=False)
class SeasonState:
    """What is remembered of N series."""

    hour: Hours
    """(N,) hours since the epoch of what is being summed."""
    total: Array
    """(N,) sum of the hour so far."""
    count: NDArray[np.int32]
    """(N,) values in it."""
    since: Array
    """(N,) seconds since the epoch of the first value; NaN before it."""
    usual: NDArray[np.float32]
    """(KINDS, N) means; 0 where nothing was seen."""
    hours: NDArray[np.int32]
    """(KINDS, N) hours that are in them."""
    level: level.LevelState
    """Of r."""
    calibration: conformal.Calibration
    """Of the views."""

    @classmethod
    def empty(cls, series: int, groups: int) -> SeasonState:
        """Nothing seen yet."""
        return cls(
            np.zeros(series, np.int64),
            np.zeros(series),
            np.zeros(series, np.int32),
            np.full(series, np.nan),
            np.zeros((KINDS, series), np.float32),
            np.zeros((KINDS, series), np.int32),
            level.LevelState.empty(series),
            conformal.Calibration.empty(len(VIEWS), series, groups),
        )


def update(
    state: SeasonState, at: float | Array, values: NDArray[np.floating], group: NDArray[np.intp], young: int
) -> tuple[SeasonState, level.Levels, Array]:
    """Compare `values` (N,) with the usual of the hour of `at`, then learn from them.

    at: seconds since the epoch, one for all series or one for each. group: see `conformal`. Returns the state
    after, the VIEWS and their envelopes, with an exceedance only where it may be judged, and p-values (N,): NaN
    where it may not.
    """
    measured = np.abs(values) <= level.LARGEST
    now = np.floor_divide(np.nan_to_num(at), HOUR_S).astype(np.int64)
    state = _turned(state, now)
    # One clock for all: a row as it is, which is several times as fast as one value from each column.
    own = (_kind(now),) if now.ndim == 0 else (_kind(now), np.arange(len(values)))
    expected = measured & (state.hours[own] > 0)
    off = np.where(expected, values - state.usual[own], np.nan)
    r, levels = level.update(state.level, off)
    # A clock that was set back makes no series older.
    since = np.where(measured, np.fmin(state.since, at), state.since)
    judged = expected & (state.level.seen >= young) & (np.asarray(at) - since >= WEEK_S)
    views = _VALUE_AND_TRENDS
    exceedance = np.where(judged, levels.exceedance[views], 0.0)
    heard = level.Levels(exceedance, levels.view[views], levels.high[views], levels.low[views], measured)
    calibration, p = conformal.update(state.calibration, exceedance, judged, group, FAMILIES)
    after = replace(
        state,
        total=state.total + np.where(measured, values, 0.0),
        count=state.count + measured.astype(np.int32),
        since=since,
        level=r,
        calibration=calibration,
    )
    return after, heard, np.where(judged, p, np.nan)


def restart(state: SeasonState, series: NDArray[np.intp]) -> SeasonState:
    """Forget the envelopes of `series` (positions), but not what they usually do."""
    return replace(
        state,
        level=level.restart(state.level, series),
        calibration=conformal.restart(state.calibration, series),
    )


def _turned(state: SeasonState, now: Hours) -> SeasonState:
    """The state in the hours `now`, one or (N,); what the hours before them brought is learned."""
    over = np.flatnonzero(now != state.hour)
    if not len(over):
        return state
    told = over[state.count[over] > 0]
    usual, hours = state.usual.copy(), state.hours.copy()
    kind = _kind(state.hour[told])
    hours[kind, told] += 1
    weight = np.maximum(1.0 / hours[kind, told], 1.0 / MEMORY)
    usual[kind, told] += weight * (state.total[told] / state.count[told] - usual[kind, told])
    total, count = state.total.copy(), state.count.copy()
    total[over], count[over] = 0.0, 0
    return replace(
        state, hour=np.broadcast_to(now, state.hour.shape), total=total, count=count, usual=usual, hours=hours
    )


def _kind(hour: Hours) -> NDArray[np.intp]:
    """In 0..KINDS; the epoch began on a Thursday."""
    weekend = (hour // 24 + 3) % 7 >= 5
    return np.asarray(hour % 24 + 24 * weekend, np.intp)
