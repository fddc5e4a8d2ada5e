"""Rows to fit and calibrate on: origins drawn evenly over the time of the series, within a budget of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.features import NAMES, features, to_z
from governor.predict.history import RateHistory
from governor.train.series import Series

ROWS = 360_000
"""For fitting: 60 MB, whatever the history's length."""
CALIBRATION_ROWS = 30_000
PER_ORIGIN = 5
"""Horizons drawn at each origin."""
LONGEST_MIN = 60.0
WARM_UP_S = 7_200.0
"""History an origin needs behind it."""
Tick = Callable[[int, int], None]
"""Called with what is done and what is to be done."""


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows in the order of `features.NAMES`, with what came true."""

    rows: FloatArray
    """(N, F)."""
    z: NDArray[np.float64]
    """(N,) outcome in z."""
    horizons_min: NDArray[np.float64]
    """(N,)."""
    at: tuple[float, float] = (np.inf, -np.inf)
    """First and last origin, seconds since the epoch."""


def horizons_of(history: RateHistory) -> NDArray[np.float64]:
    """Minutes ahead that this grid can be scored at, up to the hour."""
    step = history.step_s / 60.0
    return np.asarray(step * np.arange(1, int(max(LONGEST_MIN, step) / step) + 1), np.float64)


def draw(
    series: Sequence[Series], part: tuple[float, float], budget: int, seed: int, tick: Tick | None = None
) -> Rows:
    """At most `budget` rows with origins and outcomes within `part` (shares of each series' time)."""
    steps: Counter[str] = Counter()
    for one in series:
        steps[one.group] += one.history.values.shape[1]
    drawn = (
        delayed(_of_series)(
            one.history,
            part,
            int(budget / len(steps) * one.history.values.shape[1] / steps[one.group]),
            np.random.default_rng([seed, number]),
        )
        for number, one in enumerate(sorted(series, key=lambda one: (one.group, one.name)))
    )
    made: list[Rows] = []
    # Where they run is for the caller to say, by joblib.parallel_config.
    for done, rows in enumerate(Parallel(return_as="generator")(drawn)):
        if rows is not None:
            made.append(rows)
        if tick is not None:
            tick(done + 1, len(series))
    if not made:
        return Rows(np.empty((0, len(NAMES)), np.float32), np.empty(0), np.empty(0))
    return Rows(
        np.concatenate([one.rows for one in made]),
        np.concatenate([one.z for one in made]),
        np.concatenate([one.horizons_min for one in made]),
        (min(one.at[0] for one in made), max(one.at[1] for one in made)),
    )


def _of_series(
    history: RateHistory, part: tuple[float, float], budget: int, rng: np.random.Generator
) -> Rows | None:
    horizons = horizons_of(history)
    each = min(PER_ORIGIN, len(horizons))
    steps = history.values.shape[1]
    first = max(int(part[0] * steps), history.steps(WARM_UP_S))
    origins = np.arange(first, int(part[1] * steps) - len(horizons) + 1)
    if not len(origins):
        return None
    origins = np.sort(rng.choice(origins, min(len(origins), max(1, budget // each)), replace=False))
    rows, z, minutes = [], [], []
    for origin in origins:
        chosen = np.sort(rng.choice(len(horizons), each, replace=False))
        made = features(history.until(int(origin)), horizons[chosen].tolist())
        rows.append(made.rows)
        z.append(to_z(history.values[0, origin + chosen].astype(np.float64), made.level))
        minutes.append(horizons[chosen])
    outcome = np.concatenate(z)
    told = np.isfinite(outcome)
    start = history.end_at - steps * history.step_s
    return Rows(
        np.concatenate(rows)[told],
        outcome[told],
        np.concatenate(minutes)[told],
        (start + float(origins[0]) * history.step_s, start + float(origins[-1]) * history.step_s),
    )
