"""The detector's parts run over whole recorded series, one step at a time, as the governor would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from governor.detect import conformal, expected, level, opinion, refractory, season
from governor.detect.opinion import Families

Array = NDArray[np.float64]


def scores(
    series: Sequence[Array], times: Sequence[Array] | None = None, families: Families = level.FAMILIES
) -> list[Array]:
    """1 - damped p-value of each point of each series, in [0, 1); every series is calibrated by itself alone.

    There is no mesh to say which to believe, so that every value outside its envelope counts as said.

    times: seconds since the epoch of each value, for the season; without them there is none. families: positions
    in `level.VIEWS` of each family: see `opinion`.
    """
    count = len(series)
    values = _side_by_side(series)
    clock = None if times is None else _side_by_side(times)
    state, usual = level.LevelState.empty(count, np.float64), season.SeasonState.empty(count, count)
    calibration = conformal.Calibration.empty(len(level.VIEWS), count, count)
    held, group, told = np.zeros(count), np.arange(count), np.zeros(values.shape)
    for t, row in enumerate(values):
        seen = state.seen
        state, levels = level.update(state, row)
        counted = levels.measured & (seen >= conformal.YOUNG)
        calibration, p = conformal.update(calibration, levels.exceedance, counted, group, families)
        if clock is not None:
            usual, _, rare = season.update(usual, clock[t], row, group, conformal.YOUNG)
            p = opinion.weighed((p, rare), season.SHARES)
        told[t] = 1.0 - refractory.damp(held, p)
        held = refractory.hold(held, p, p < 1.0, seen)
    return [told[: len(one), i] for i, one in enumerate(series)]


def _side_by_side(series: Sequence[Array]) -> Array:
    """(T, N) of N series from their first values on, NaN after their last."""
    values = np.full((max(len(one) for one in series), len(series)), np.nan)
    for i, one in enumerate(series):
        values[: len(one), i] = one
    return values


def deviations(rows: Array, options: expected.Options) -> Array:
    """(T,) deviation of one entity whose signals are rows (T, M)."""
    state = expected.ExpectedState.empty(1, rows.shape[1], options)
    answer = np.zeros(len(rows))
    for t, row in enumerate(rows):
        state, _ = expected.update(state, row[None], options)
        answer[t] = state.deviation[0]
    return answer
