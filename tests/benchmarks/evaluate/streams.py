"""The detector's parts run over whole recorded series, one step at a time, as the governor would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from governor.detect import conformal, expected, level, refractory
from governor.detect.opinion import Families

Array = NDArray[np.float64]


def level_scores(series: Sequence[Array], families: Families = level.FAMILIES) -> list[Array]:
    """1 - damped p-value of each point of each series, in [0, 1); every series is calibrated by itself alone.

    There is no mesh to say which to believe, so that every value outside its envelope counts as said.

    families: positions in `level.VIEWS` of each family: see `opinion`.
    """
    count, steps = len(series), max(len(s) for s in series)
    values = np.full((steps, count), np.nan)
    for i, one in enumerate(series):
        values[: len(one), i] = one
    state = level.LevelState.empty(count, np.float64)
    calibration = conformal.Calibration.empty(len(level.VIEWS), count, count)
    held, group, scores = np.zeros(count), np.arange(count), np.zeros((steps, count))
    for t in range(steps):
        seen = state.seen
        state, levels = level.update(state, values[t])
        counted = levels.measured & (seen >= conformal.YOUNG)
        calibration, p = conformal.update(calibration, levels.exceedance, counted, group, families)
        scores[t] = 1.0 - refractory.damp(held, p)
        held = refractory.hold(held, p, p < 1.0, seen)
    return [scores[: len(one), i] for i, one in enumerate(series)]


def deviations(rows: Array, options: expected.Options) -> Array:
    """(T,) deviation of one entity whose signals are rows (T, M)."""
    state = expected.ExpectedState.empty(1, rows.shape[1], options)
    answer = np.zeros(len(rows))
    for t, row in enumerate(rows):
        state, _ = expected.update(state, row[None], options)
        answer[t] = state.deviation[0]
    return answer
