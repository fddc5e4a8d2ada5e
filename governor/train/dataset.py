"""Rows to fit and calibrate on: origins drawn evenly over the time of the series, within a budget of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.features import LOOK_BACK_S, NAMES, features, to_z
from governor.predict.history import RateHistory
from governor.train.crowds import Crowds, with_crowds
from governor.train.series import Series

ROWS = 360_000
"""For fitting: 60 MB, whatever the history's length."""
CALIBRATION_ROWS = 30_000
CROWDED = 1.0 / 8.0
"""As many rows of series with made-up crowds, for each of those without."""
PER_ORIGIN = 5
"""Horizons of each origin."""
BLOCK = 64
"""Origins whose features are made at once, for the same horizons."""
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
    series: Sequence[Series],
    part: tuple[float, float],
    budget: int,
    seed: int,
    tick: Tick | None = None,
    crowds: Crowds | None = None,
) -> Rows:
    """At most `budget` rows with origins and outcomes within `part` (shares of each series' time).

    With `crowds`, of the series with such crowds made up on them.
    """
    steps: Counter[str] = Counter()
    for one in series:
        steps[one.group] += one.history.values.shape[1]
    drawn = (
        delayed(_of_series)(
            one.history,
            part,
            int(budget / len(steps) * one.history.values.shape[1] / steps[one.group]),
            np.random.default_rng([seed, number]),
            crowds,
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
    return joined(made)


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows, in the order given."""
    if not parts:
        return Rows(np.empty((0, len(NAMES)), np.float32), np.empty(0), np.empty(0))
    return Rows(
        np.concatenate([one.rows for one in parts]),
        np.concatenate([one.z for one in parts]),
        np.concatenate([one.horizons_min for one in parts]),
        (min(one.at[0] for one in parts), max(one.at[1] for one in parts)),
    )


def _of_series(
    history: RateHistory,
    part: tuple[float, float],
    budget: int,
    rng: np.random.Generator,
    crowds: Crowds | None,
) -> Rows | None:
    horizons = horizons_of(history)
    each = min(PER_ORIGIN, len(horizons))
    steps = history.values.shape[1]
    first = max(int(part[0] * steps), history.steps(WARM_UP_S))
    origins = np.arange(first, int(part[1] * steps) - len(horizons) + 1)
    if not len(origins):
        return None
    if crowds is not None:
        history = with_crowds(history, crowds, rng)
    origins = np.sort(rng.choice(origins, min(len(origins), max(1, budget // each)), replace=False))
    rows, z, minutes = [], [], []
    for start in range(0, len(origins), BLOCK):
        block = origins[start : start + BLOCK]
        chosen = np.sort(rng.choice(len(horizons), each, replace=False))
        past = history.each_until(block, LOOK_BACK_S)
        made = features(past, horizons[chosen].tolist(), history.ends(block))
        rows.append(made.rows)
        outcomes = history.values[0, block[:, None] + chosen].astype(np.float64)
        z.append(to_z(outcomes, made.level[:, None]).reshape(-1))
        minutes.append(np.tile(horizons[chosen], len(block)))
    outcome = np.concatenate(z)
    told = np.isfinite(outcome)
    first_at, last_at = history.ends(origins[[0, -1]]).tolist()
    return Rows(
        np.concatenate(rows)[told],
        outcome[told],
        np.concatenate(minutes)[told],
        (first_at, last_at),
    )
