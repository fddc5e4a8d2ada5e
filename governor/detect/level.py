"""How far a series is outside everything it did before.

Five views of each series, each with an envelope [lo, hi] of all it did in the last one to two epochs:

    value               x                         a spike or a drop
    trend 24, 48, 96    m24, exponential mean over 24 steps, and so on: a slow rise
    shift               m8 - m288                 a change of level that is large for its own rhythm

No span is the right one for every series: the three trends are heard as one, see `opinion`.

    exceedance e = max(x - hi, lo - x, 0) / (hi - lo), capped at 10

A level that was reached once is normal from then on, so a new regime is said once and not for ever; and what lies
two epochs back is forgotten. The measure has no unit: a series in ms and one in s give the same exceedance.
Cost: about ten passes over the series a view, no loop over series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
VIEWS = ("value", "trend 24", "trend 48", "trend 96", "shift")
SPANS = (24.0, 48.0, 96.0, 8.0, 288.0)
"""Of the exponential means, in steps, shift's two last; the weight of a new value is 2 / (span + 1)."""
FAMILIES = ((0,), (1, 2, 3), (4,))
"""Positions of the views that ask the same at several spans: see `opinion`."""
LARGEST = 1e37
"""A value beyond is not a measurement, and would overflow the single precision of what is remembered."""
EPOCH = 16_384
"""Steps after which the older half of the envelope is dropped."""
CAP = 10.0


@dataclass(frozen=True, eq=False)
class LevelState:
    """What is remembered of N series; arrays of the inputs' own float type."""

    seen: NDArray[np.int32]
    """(N,) finite values so far."""
    means: Array
    """(S, N) exponential means, by SPANS."""
    high: Array
    """(V, N) highest of each view in this epoch."""
    low: Array
    """(V, N) lowest."""
    high_before: Array
    """(V, N) the same in the epoch before."""
    low_before: Array

    @classmethod
    def empty(cls, series: int, dtype: type[np.floating] = np.float32) -> LevelState:
        """Nothing seen yet."""
        views = (len(VIEWS), series)
        none_high, none_low = np.full(views, -np.inf, dtype), np.full(views, np.inf, dtype)
        means = np.zeros((len(SPANS), series), dtype)
        return cls(np.zeros(series, np.int32), means, none_high, none_low, none_high, none_low)


@dataclass(frozen=True, eq=False)
class Levels:
    """One step's answer for N series."""

    exceedance: Array
    """(V, N) per view, in widths of the envelope; 0 inside it, for a first value, and where nothing was
    measured."""
    view: Array
    """(V, N) what was compared, in the series' unit; NaN where nothing was measured."""
    high: Array
    """(V, N) the envelope before this step; infinite before the first value."""
    low: Array
    measured: NDArray[np.bool_]
    """(N,) whether there was a finite value of a size that can be."""


def joined(first: Levels, second: Levels) -> Levels:
    """The views of both; `second` is of the first so many series of `first`, and says nothing of the rest."""
    views, series = len(first.view), len(second.measured)
    shape = (views + len(second.view), len(first.measured))

    def both(one: Array, other: Array, otherwise: float) -> Array:
        answer = np.empty(shape, one.dtype)
        answer[:views], answer[views:, :series], answer[views:, series:] = one, other, otherwise
        return answer

    return Levels(
        both(first.exceedance, second.exceedance, 0.0),
        both(first.view, second.view, np.nan),
        both(first.high, second.high, np.inf),
        both(first.low, second.low, -np.inf),
        first.measured,
    )


def update(state: LevelState, values: Array) -> tuple[LevelState, Levels]:
    """Compare `values` (N,) with the envelopes, then let the envelopes grow; NaN and infinity change nothing."""
    known = np.abs(values) <= LARGEST
    missing = np.flatnonzero(~known)
    dtype = state.means.dtype
    x = (np.where(known, values, 0) if len(missing) else values).astype(dtype)
    gain = 1 / (state.seen + 1).astype(dtype)
    largest = gain.max(initial=0)
    means = np.empty_like(state.means)
    for row, span in enumerate(SPANS):
        weight = dtype.type(2.0 / (span + 1.0))
        np.subtract(x, state.means[row], out=means[row])
        means[row] *= np.maximum(gain, weight) if largest > weight else weight
        means[row] += state.means[row]
    view = np.empty_like(state.high)
    view[0], view[1:-1] = x, means[:-2]
    np.subtract(means[-2], means[-1], out=view[-1])
    if len(missing):
        means[:, missing], view[:, missing] = state.means[:, missing], np.nan
    high, low = np.maximum(state.high, state.high_before), np.minimum(state.low, state.low_before)
    exceedance = _exceedance(view, high, low, state.seen)
    grown = _grow(state, view, known)
    return LevelState(state.seen + known, means, *grown), Levels(exceedance, view, high, low, known)


def _exceedance(view: Array, high: Array, low: Array, seen: NDArray[np.int32]) -> Array:
    answer = np.zeros_like(view)
    fresh = bool((seen == 0).any())
    for row in range(len(VIEWS)):
        beyond = np.flatnonzero((view[row] > high[row]) | (view[row] < low[row]))
        if fresh:
            beyond = beyond[seen[beyond] > 0]
        hi, lo, v = high[row, beyond], low[row, beyond], view[row, beyond]
        # A constant has no width. What cannot be told from rounding of its size counts as nothing.
        rounding = 8 * np.finfo(view.dtype).eps * np.maximum(np.abs(hi), np.abs(lo))
        over = np.maximum(v - hi, lo - v)
        width = np.maximum(np.maximum(hi - lo, over / CAP), np.finfo(view.dtype).tiny)
        answer[row, beyond] = np.where(over > rounding, np.minimum(over / width, CAP), 0)
    return answer


def _grow(state: LevelState, view: Array, known: NDArray[np.bool_]) -> tuple[Array, Array, Array, Array]:
    high, low = state.high, state.low
    high_before, low_before = state.high_before, state.low_before
    turned = np.flatnonzero(known & (state.seen > 0) & (state.seen % EPOCH == 0))
    if len(turned):
        high, low, high_before, low_before = high.copy(), low.copy(), high_before.copy(), low_before.copy()
        high_before[:, turned], low_before[:, turned] = high[:, turned], low[:, turned]
        high[:, turned], low[:, turned] = -np.inf, np.inf
    # These leave a bound as it is where the view is NaN.
    return np.fmax(high, view), np.fmin(low, view), high_before, low_before


def restart(state: LevelState, series: NDArray[np.intp]) -> LevelState:
    """Forget all that `series` (positions) did so far."""
    seen = state.seen.copy()
    seen[series] = 0
    highs, lows = (state.high.copy(), state.high_before.copy()), (state.low.copy(), state.low_before.copy())
    for high, low in zip(highs, lows, strict=True):
        high[:, series], low[:, series] = -np.inf, np.inf
    return LevelState(seen, state.means, highs[0], lows[0], highs[1], lows[1])
