"""What an entity's signals should be, given its load and its own recent past; and how far off they are.

A ridge regression per entity on standardised signals, kept as exponentially forgotten normal equations:

    z_t = (x_t - mean) / deviation              clipped to +-20
    f_t = (z_{t-l} for each lag l, drivers of z_t, 1)
    W   = (sum f f' + ridge I)^-1 sum f z'
    r_t = (z_t - W' f_t) / deviation of past r  clipped to +-20
    d_t = mean of r_t^2 over the signals, exponential mean over 10 steps: how far off the entity is

A driver (the request rate) explains the others at the same moment and is not judged here: heavy load is not
abnormal, latency that the load does not explain is. Entities are solved in turn, one of `every` a step, so that
no step pays for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CLIP = 20.0
SMOOTHING = 2.0 / 11.0
NARROWEST = 0.01
"""A deviation is at least this share of the signal's range so far: the rounding of a flat signal is no event."""


@dataclass(frozen=True)
class Options:
    """Shape and memory of the regressions."""

    lags: tuple[int, ...] = (1, 2, 3)
    """Steps back, rising."""
    drivers: tuple[int, ...] = ()
    """Columns whose value of the same step is known to the regression."""
    ridge: float = 10.0
    half_life: float = 30_000.0
    """Steps after which a sample weighs half."""
    every: int = 32
    """Steps between two solutions for one entity."""
    warm_up: int = 128
    """Steps before anything is called abnormal."""


@dataclass(frozen=True, eq=False)
class ExpectedState:
    """N entities, M signals, P features."""

    step: int
    weight: Array
    """(N,) samples, forgotten ones counted less."""
    mean: Array
    """(N, M)."""
    square: Array
    """(N, M) sum of squares about the mean."""
    high: Array
    """(N, M) highest so far."""
    low: Array
    past: Array
    """(L, N, M) the last L raw values, newest first; NaN where none."""
    gram: Array
    """(N, P, P)."""
    moment: Array
    """(N, P, M)."""
    solution: Array
    """(N, P, M)."""
    error: Array
    """(N, M) sum of squared residuals."""
    error_weight: Array
    """(N,)."""
    deviation: Array
    """(N,) d of the last step."""

    @classmethod
    def empty(cls, entities: int, signals: int, options: Options) -> ExpectedState:
        """Nothing seen yet."""
        n, m = entities, signals
        features = len(options.lags) * m + len(options.drivers) + 1
        return cls(
            step=0,
            weight=np.zeros(n),
            mean=np.zeros((n, m)),
            square=np.zeros((n, m)),
            high=np.full((n, m), -np.inf),
            low=np.full((n, m), np.inf),
            past=np.full((options.lags[-1], n, m), np.nan),
            gram=np.zeros((n, features, features)),
            moment=np.zeros((n, features, m)),
            solution=np.zeros((n, features, m)),
            error=np.zeros((n, m)),
            error_weight=np.zeros(n),
            deviation=np.zeros(n),
        )


def update(state: ExpectedState, values: Array, options: Options) -> tuple[ExpectedState, Array]:
    """Residuals (N, M) of `values` (N, M), in their usual deviation; then the values are learnt from.

    NaN where a value is missing or not finite, for a driver, and before the warm-up is over. An entity with a
    missing value learns nothing in this step.
    """
    x = np.where(np.isfinite(values), values, np.nan)
    z = _standardised(state, x)
    features = _features(state, z, options)
    raw = z - np.matmul(features[:, None, :], state.solution)[:, 0, :]
    usual = np.sqrt(state.error / np.maximum(state.error_weight, 1e-9)[:, None])
    usual = np.maximum(usual, NARROWEST)
    scaled = np.clip(raw / usual, -CLIP, CLIP)
    warm = state.error_weight > options.warm_up
    residual = np.where(warm[:, None], scaled, np.nan)
    residual[:, list(options.drivers)] = np.nan
    # What is far off is learnt from only so far: an incident must not become what is expected.
    bounded = np.where(warm[:, None], np.clip(raw, -4 * usual, 4 * usual), raw)
    learnt = _learn(state, x, z, features, bounded, options)
    return replace(learnt, deviation=_smoothed(state.deviation, residual)), residual


def _standardised(state: ExpectedState, x: Array) -> Array:
    deviation = np.sqrt(state.square / np.maximum(state.weight, 1.0)[:, None])
    widest = np.where(state.weight[:, None] > 0, state.high - state.low, 0.0)
    deviation = np.maximum(deviation, NARROWEST * widest)
    scale = np.where(deviation > 0, deviation, 1.0)
    z = (x - state.mean) / scale
    # A signal that never moved has no scale: it is either where it was, or as far off as can be said.
    z = np.where(deviation > 0, z, np.sign(x - state.mean) * CLIP)
    return np.asarray(np.clip(z, -CLIP, CLIP), np.float64)


def _features(state: ExpectedState, z: Array, options: Options) -> Array:
    lagged = [np.nan_to_num(_standardised(state, state.past[lag - 1])) for lag in options.lags]
    now = np.nan_to_num(z[:, list(options.drivers)])
    return np.concatenate([*lagged, now, np.ones((len(z), 1))], axis=1)


def _learn(
    state: ExpectedState, x: Array, z: Array, features: Array, residual: Array, options: Options
) -> ExpectedState:
    keep = 0.5 ** (1.0 / options.half_life)
    whole = np.asarray(np.isfinite(x).all(axis=1), np.bool_)
    first = state.weight < 1.0
    ready = whole & (state.weight > options.lags[-1])
    # By then its turn to be solved has come.
    solved = whole & (state.weight > options.lags[-1] + options.every)
    weight = state.weight * keep + whole
    known = np.where(whole[:, None], x, state.mean)
    step = known - state.mean
    mean = state.mean + step / np.maximum(weight, 1.0)[:, None]
    square = state.square * keep + np.where(first[:, None], 0.0, step * (known - mean))
    f = np.where(ready[:, None], features, 0.0)
    target = np.where(ready[:, None], z, 0.0)
    gram = state.gram * keep + f[:, :, None] * f[:, None, :]
    moment = state.moment * keep + f[:, :, None] * target[:, None, :]
    return replace(
        state,
        step=state.step + 1,
        weight=weight,
        mean=mean,
        square=square,
        high=np.maximum(state.high, np.where(whole[:, None], x, -np.inf)),
        low=np.minimum(state.low, np.where(whole[:, None], x, np.inf)),
        past=np.concatenate([x[None], state.past[:-1]]),
        gram=gram,
        moment=moment,
        solution=_solved(state, gram, moment, options),
        error=state.error * keep + np.where(solved[:, None], residual**2, 0.0),
        error_weight=state.error_weight * keep + solved,
    )


def _solved(state: ExpectedState, gram: Array, moment: Array, options: Options) -> Array:
    turn = np.arange(state.step % options.every, len(gram), options.every)
    if not len(turn):
        return state.solution
    solution = state.solution.copy()
    ridge = options.ridge * np.eye(gram.shape[1])
    solution[turn] = np.linalg.solve(gram[turn] + ridge, moment[turn])
    return solution


def _smoothed(deviation: Array, residual: Array) -> Array:
    known = np.isfinite(residual)
    count = known.sum(axis=1)
    mean = (np.where(known, residual, 0.0) ** 2).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, deviation + SMOOTHING * (mean - deviation), deviation)
