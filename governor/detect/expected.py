"""What an entity's signals should be, given its load and its own recent past; and how far off they are.

A ridge regression per entity on standardised signals, kept as exponentially forgotten normal equations:

    z_t = (x_t - centre) / scale                clipped to +-20
    f_t = (z_{t-l} for each lag l, drivers of z_t, 1)
    W   = (sum f f' + ridge I)^-1 sum f z'
    r_t = (z_t - W' f_t) / usual                clipped to +-20
    d_t = mean of r_t^2 over the signals, exponential mean over 10 steps: how far off the entity is

centre, scale, W and usual (the deviation of past z - W' f) are held between refits, and a refit comes when twice
as much was seen as at the last one, `longest` steps later at most. Were they to follow each step, an incident
would be what is expected before it is over. `refit` brings the sums into the new units.

A driver (the request rate) explains the others at the same moment and is not judged here: heavy load is not
abnormal, latency that the load does not explain is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor.detect import refit

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
    """An entity is looked at for a refit one step in so many, so that no step pays for all."""
    longest: int = 4096
    """Steps between two refits, at most."""
    warm_up: int = 128
    """Whole steps before the first regression; what is abnormal is said after twice as many."""


@dataclass(frozen=True, eq=False)
class ExpectedState:
    """N entities, M signals, P features."""

    step: int
    count: Array
    """(N,) whole steps seen."""
    due: Array
    """(N,) count of the next refit."""
    weight: Array
    """(N,) samples, forgotten ones counted less."""
    mean: Array
    """(N, M)."""
    square: Array
    """(N, M) sum of squares about the mean."""
    high: Array
    """(N, M) highest so far."""
    low: Array
    centre: Array
    """(N, M) mean at the last refit; NaN before the first."""
    scale: Array
    """(N, M) deviation at the last refit; 0 for a signal that had never moved."""
    past: Array
    """(L, N, M) the last L raw values, newest first; NaN where none."""
    gram: Array
    """(N, P, P) in the units of centre and scale."""
    moment: Array
    """(N, P, M)."""
    solution: Array
    """(N, P, M)."""
    error: Array
    """(N, M) sum of squared errors of predictions."""
    error_weight: Array
    """(N,)."""
    usual: Array
    """(N, M) deviation of the errors at the last refit; NaN before there were any."""
    deviation: Array
    """(N,) d of the last step."""

    @classmethod
    def empty(cls, entities: int, signals: int, options: Options) -> ExpectedState:
        """Nothing seen yet."""
        n, m = entities, signals
        features = len(options.lags) * m + len(options.drivers) + 1
        return cls(
            step=0,
            count=np.zeros(n),
            due=np.full(n, options.warm_up / 2.0),
            weight=np.zeros(n),
            mean=np.zeros((n, m)),
            square=np.zeros((n, m)),
            high=np.full((n, m), -np.inf),
            low=np.full((n, m), np.inf),
            centre=np.full((n, m), np.nan),
            scale=np.ones((n, m)),
            past=np.full((options.lags[-1], n, m), np.nan),
            gram=np.zeros((n, features, features)),
            moment=np.zeros((n, features, m)),
            solution=np.zeros((n, features, m)),
            error=np.zeros((n, m)),
            error_weight=np.zeros(n),
            usual=np.full((n, m), np.nan),
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
    residual = np.clip(raw / state.usual, -CLIP, CLIP)
    # What is far off is learnt from only so far: an incident must not become what is usual.
    error = np.where(np.isfinite(residual), residual * state.usual, raw)
    residual[:, list(options.drivers)] = np.nan
    learnt = _refitted(_learn(state, x, z, features, error, options), options)
    return replace(learnt, deviation=_smoothed(state.deviation, residual)), residual


def _standardised(state: ExpectedState, x: Array) -> Array:
    away = x - state.centre
    # A signal that never moved has no scale: it is either where it was, or as far off as can be said.
    z = np.where(state.scale > 0, away / np.where(state.scale > 0, state.scale, 1.0), np.sign(away) * CLIP)
    return np.asarray(np.clip(z, -CLIP, CLIP), np.float64)


def _features(state: ExpectedState, z: Array, options: Options) -> Array:
    lagged = [np.nan_to_num(_standardised(state, state.past[lag - 1])) for lag in options.lags]
    now = np.nan_to_num(z[:, list(options.drivers)])
    return np.concatenate([*lagged, now, np.ones((len(z), 1))], axis=1)


def _learn(
    state: ExpectedState, x: Array, z: Array, features: Array, error: Array, options: Options
) -> ExpectedState:
    keep = 0.5 ** (1.0 / options.half_life)
    whole = np.asarray(np.isfinite(x).all(axis=1), np.bool_)
    fitted = whole & np.isfinite(state.centre[:, 0])
    weight = state.weight * keep + whole
    known = np.where(whole[:, None], x, state.mean)
    step = known - state.mean
    mean = state.mean + step / np.maximum(weight, 1.0)[:, None]
    square = state.square * keep + np.where(state.weight[:, None] < 1.0, 0.0, step * (known - mean))
    f = np.where(fitted[:, None], features, 0.0)
    target = np.where(fitted[:, None], z, 0.0)
    return replace(
        state,
        step=state.step + 1,
        count=state.count + whole,
        weight=weight,
        mean=mean,
        square=square,
        high=np.maximum(state.high, np.where(whole[:, None], x, -np.inf)),
        low=np.minimum(state.low, np.where(whole[:, None], x, np.inf)),
        past=np.concatenate([x[None], state.past[:-1]]),
        gram=_outer(state.gram, keep, f, f),
        moment=_outer(state.moment, keep, f, target),
        error=state.error * keep + np.where(fitted[:, None], error**2, 0.0),
        error_weight=state.error_weight * keep + fitted,
    )


def _outer(sums: Array, keep: float, a: Array, b: Array) -> Array:
    """(N, P, Q) sums, of which `keep` is kept, with the products of (N, P) and (N, Q)."""
    answer = sums * keep
    answer += a[:, :, None] * b[:, None, :]
    return answer


def _refitted(state: ExpectedState, options: Options) -> ExpectedState:
    """The state after the refits of those whose turn it is and for whom one is due."""
    turn = np.arange(state.step % options.every, len(state.count), options.every)
    turn = turn[state.count[turn] >= state.due[turn]]
    if not len(turn):
        return state
    known = np.isfinite(state.centre[turn, 0])
    centre, scale = state.mean[turn], _deviation(state, turn)
    sums = refit.rebased(
        refit.Sums(state.gram[turn], state.moment[turn], state.error[turn]),
        refit.Standard(np.where(known[:, None], state.centre[turn], 0.0), state.scale[turn]),
        refit.Standard(centre, scale),
        options.drivers,
        state.error_weight[turn],
    )
    # Errors made without a regression say nothing of those made with one.
    solved = state.due[turn] > options.warm_up
    usual = np.sqrt(sums.error / np.maximum(state.error_weight[turn], 1.0)[:, None])
    usual = np.where(solved[:, None], np.maximum(usual, NARROWEST), np.nan)
    due = np.minimum(2.0 * state.due[turn], state.due[turn] + options.longest)
    ridge = options.ridge * np.eye(state.gram.shape[1])
    return replace(
        state,
        due=_put(state.due, turn, due),
        centre=_put(state.centre, turn, centre),
        scale=_put(state.scale, turn, scale),
        gram=_put(state.gram, turn, sums.gram),
        moment=_put(state.moment, turn, sums.moment),
        solution=_put(
            state.solution, turn, np.asarray(np.linalg.solve(sums.gram + ridge, sums.moment), np.float64)
        ),
        error=_put(state.error, turn, np.where(solved[:, None], sums.error, 0.0)),
        error_weight=_put(state.error_weight, turn, np.where(solved, state.error_weight[turn], 0.0)),
        usual=_put(state.usual, turn, usual),
    )


def _put(old: Array, rows: NDArray[np.intp], value: Array) -> Array:
    answer = old.copy()
    answer[rows] = value
    return answer


def _deviation(state: ExpectedState, rows: NDArray[np.intp]) -> Array:
    deviation = np.sqrt(state.square[rows] / np.maximum(state.weight[rows], 1.0)[:, None])
    return np.asarray(np.maximum(deviation, NARROWEST * (state.high[rows] - state.low[rows])), np.float64)


def _smoothed(deviation: Array, residual: Array) -> Array:
    known = np.isfinite(residual)
    count = known.sum(axis=1)
    mean = (np.where(known, residual, 0.0) ** 2).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, deviation + SMOOTHING * (mean - deviation), deviation)
