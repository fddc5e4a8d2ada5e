"""How far a series is outside everything it did before.

Three views of each series, each with an envelope [lo, hi] of all it did in the last one to two epochs:

    value   x                                    a spike or a drop
    trend   m48, exponential mean over 48 steps  a slow rise
    shift   m8 - m288                            a change of level that is large for its own rhythm

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
VIEWS = ("value", "trend", "shift")
TREND, SHORT, LONG = 48.0, 8.0, 288.0
"""Spans of the exponential means, in steps; the weight of a new value is 2 / (span + 1)."""
EPOCH = 16_384
"""Steps after which the older half of the envelope is dropped."""
CAP = 10.0


@dataclass(frozen=True, eq=False)
class LevelState:
    """What is remembered of N series; arrays of the inputs' own float type."""

    seen: NDArray[np.int32]
    """(N,) finite values so far."""
    means: Array
    """(3, N) exponential means: trend, short, long."""
    high: Array
    """(2, 3, N) highest of each view in this epoch and in the one before."""
    low: Array
    """(2, 3, N) lowest."""

    @classmethod
    def empty(cls, series: int, dtype: type[np.floating] = np.float32) -> LevelState:
        """Nothing seen yet."""
        views = (2, len(VIEWS), series)
        return cls(
            np.zeros(series, np.int32),
            np.zeros((3, series), dtype),
            np.full(views, -np.inf, dtype),
            np.full(views, np.inf, dtype),
        )


@dataclass(frozen=True, eq=False)
class Levels:
    """One step's answer for N series."""

    exceedance: Array
    """(3, N) per view, in widths of the envelope; 0 inside it, for a first value, and where nothing was
    measured."""
    view: Array
    """(3, N) what was compared, in the series' unit."""
    high: Array
    """(3, N) the envelope before this step; infinite before the first value."""
    low: Array
    measured: NDArray[np.bool_]
    """(N,) whether there was a finite value."""


def update(state: LevelState, values: Array) -> tuple[LevelState, Levels]:
    """Compare `values` (N,) with the envelopes, then let the envelopes grow; NaN and infinity change nothing."""
    known = np.isfinite(values)
    x = np.where(known, values, 0).astype(state.means.dtype)
    gain = 1.0 / (state.seen + 1.0)
    means = np.empty_like(state.means)
    for row, span in enumerate((TREND, SHORT, LONG)):
        weight = np.where(known, np.maximum(gain, 2.0 / (span + 1.0)), 0).astype(x.dtype)
        np.subtract(x, state.means[row], out=means[row])
        means[row] *= weight
        means[row] += state.means[row]
    view = np.stack((x, means[0], means[1] - means[2]))
    high, low = state.high.max(axis=0), state.low.min(axis=0)
    exceedance = _exceedance(view, high, low, known & (state.seen > 0))
    grown = _grow(state, view, known)
    return LevelState(state.seen + known, means, *grown), Levels(exceedance, view, high, low, known)


def _exceedance(view: Array, high: Array, low: Array, comparable: NDArray[np.bool_]) -> Array:
    answer = np.zeros_like(view)
    for row in range(len(VIEWS)):
        beyond = np.flatnonzero(comparable & ((view[row] > high[row]) | (view[row] < low[row])))
        hi, lo, v = high[row, beyond], low[row, beyond], view[row, beyond]
        # A constant has no width. What cannot be told from rounding of its size counts as nothing.
        rounding = 8 * np.finfo(view.dtype).eps * np.maximum(np.abs(hi), np.abs(lo))
        over = np.maximum(v - hi, lo - v)
        width = np.maximum(hi - lo, over / CAP)
        answer[row, beyond] = np.where(over > rounding, np.minimum(over / width, CAP), 0)
    return answer


def _grow(state: LevelState, view: Array, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    high, low = state.high.copy(), state.low.copy()
    turned = np.flatnonzero(known & (state.seen > 0) & (state.seen % EPOCH == 0))
    if len(turned):
        high[1][:, turned], low[1][:, turned] = high[0][:, turned], low[0][:, turned]
        high[0][:, turned], low[0][:, turned] = -np.inf, np.inf
    np.maximum(high[0], view, out=high[0], where=known)
    np.minimum(low[0], view, out=low[0], where=known)
    return high, low


def restart(state: LevelState, series: NDArray[np.intp]) -> LevelState:
    """Forget all that `series` (positions) did so far."""
    seen, high, low = state.seen.copy(), state.high.copy(), state.low.copy()
    seen[series], high[:, :, series], low[:, :, series] = 0, -np.inf, np.inf
    return LevelState(seen, state.means, high, low)
