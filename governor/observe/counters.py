"""Rates from samples of counters, in the face of restarts, holes and infinities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Rates:
    """What n counters did over K samples; each array (n,)."""

    per_s: Floats
    """Increase per second; NaN where no two samples can be compared."""
    span_s: Floats
    """Seconds that the rate was measured over, intervals with a reset left out."""
    reset: Flags
    """The counter fell at least once."""
    not_finite: Flags
    """A sample was infinite, and was left out."""


def counter_rates(times: Floats, values: Floats, left_out: Flags | None = None) -> Rates:
    """Rate = sum of increases / sum of the times they took, over intervals in which the counter did not fall.

    Args:
        times: (K,) seconds, strictly increasing: of a clock that never jumps.
        values: (K, n) samples, NaN where there was none.
        left_out: (K - 1,) intervals to leave out for all counters, and to count as a reset (see `restarts`).

    What was counted between the last sample before a reset and the reset itself is lost, so that interval is
    taken out of both sums: the rate stays right and its span shrinks. Prometheus' `rate` keeps the time and
    estimates low.
    """
    infinite = np.isinf(values)
    known = np.where(infinite, np.nan, values)
    if len(times) < 2:
        nothing = np.full(values.shape[1], np.nan)
        none = np.zeros(values.shape[1], np.bool_)
        return Rates(nothing, np.zeros(values.shape[1]), none, np.asarray(infinite.any(axis=0)))
    last = _last_known(known)
    filled = np.take_along_axis(known, last, axis=0)
    increase, took = np.diff(filled, axis=0), np.diff(times[last], axis=0)
    with np.errstate(invalid="ignore"):
        fell = increase < 0
    if left_out is not None:
        fell |= left_out[:, None] & (took > 0)
    valid = ~fell & np.isfinite(increase) & (took > 0)
    span = np.where(valid, took, 0.0).sum(axis=0)
    total = np.where(valid, increase, 0.0).sum(axis=0)
    per_s = np.divide(total, span, out=np.full(span.shape, np.nan), where=span > 0)
    return Rates(per_s, span, np.asarray(fell.any(axis=0)), np.asarray(infinite.any(axis=0)))


def steps(times: Floats, values: Floats, left_out: Flags | None = None) -> Floats:
    """Rates of each single interval, (K - 1, n); NaN where a sample is absent or the counter fell."""
    if len(times) < 2:
        return np.empty((0, values.shape[1]))
    increase = np.diff(np.where(np.isinf(values), np.nan, values), axis=0)
    with np.errstate(invalid="ignore"):
        good = increase >= 0
    if left_out is not None:
        good &= ~left_out[:, None]
    return np.where(good, increase, np.nan) / np.diff(times)[:, None]


def restarts(values: Floats) -> Flags:
    """Intervals (K - 1,) in which more than half of the counters that stood above zero fell: a new process.

    A counter that is already past its old value at the first sample after a restart would pass for a small
    increase, so the whole interval is worthless. Counters that are gone do not vote.
    """
    if len(values) < 2:
        return np.zeros(max(len(values) - 1, 0), np.bool_)
    before, after = values[:-1], values[1:]
    with np.errstate(invalid="ignore"):
        voters = (before > 0) & np.isfinite(after)
        fell = voters & (after < before)
    return np.asarray(fell.sum(axis=1) * 2 > voters.sum(axis=1), np.bool_)


def gauge_means(values: Floats) -> Floats:
    """Mean over the samples (K, n) of gauges, absent and infinite ones left out; NaN where there was none."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    means: Floats = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return means


def _last_known(values: Floats) -> Rows:
    """(K, n) row of the newest finite sample up to each row; 0 where there was none yet."""
    rows = np.arange(len(values))[:, None]
    last: Rows = np.maximum.accumulate(np.where(np.isfinite(values), rows, 0), axis=0)
    return last
