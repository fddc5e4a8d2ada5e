"""The coarse history of request rates that a forecast looks back on, on one even grid of time.

What is not a rate (negative, infinite, missing) is NaN, never zero. Clocks jump and sources repeat themselves:
the grid takes samples in any order, the later of two for one moment wins, and what lies outside the grid is left
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray

DAY_S = 86_400.0
FRESH_S = 900.0
"""A service without a known value for so long has no forecast."""


@dataclass(frozen=True, eq=False)
class RateHistory:
    """Request rates of S services over T steps, oldest first."""

    values: FloatArray
    """(S, T) requests/s, or any other unit as long as a row keeps it; NaN where unknown."""
    end_at: float
    """End of the last step, seconds since the epoch (UTC)."""
    step_s: float
    """Length of a step in seconds."""

    def __post_init__(self) -> None:
        assert self.values.ndim == 2
        assert self.values.shape[1] > 0
        assert self.step_s > 0.0

    def steps(self, seconds: float) -> int:
        """Steps in `seconds`, at least one."""
        return max(1, round(seconds / self.step_s))

    def newest(self, steps: int) -> FloatArray:
        """(S, steps) the newest steps, fewer if there are fewer; what is no rate is NaN."""
        if steps <= self._recent.shape[1]:
            return self._recent[:, -steps:]
        return rates_only(self.values[:, -steps:])

    @cached_property
    def _recent(self) -> FloatArray:
        """The last two days, which nearly all of a forecast looks at, cleaned once."""
        return rates_only(self.values[:, -2 * self.steps(DAY_S) :])

    def until(self, step: int) -> RateHistory:
        """What was known once `step` steps had passed."""
        behind = self.values.shape[1] - step
        return RateHistory(self.values[:, :step], self.end_at - behind * self.step_s, self.step_s)

    def each_until(self, steps: NDArray[np.intp], seconds: float) -> RateHistory:
        """A row for each of `steps` (O,): the last `seconds` of what `until` gives, of a single service.

        Unknown where the history had not begun. The rows end at `ends`, not at `end_at`.
        """
        assert len(self.values) == 1
        width = self.steps(seconds)
        before = np.full(width, np.nan, np.float32)
        padded = np.concatenate([before, self.values[0]])
        rows = np.lib.stride_tricks.sliding_window_view(padded, width)[steps]
        return RateHistory(rows, self.end_at, self.step_s)

    def ends(self, steps: NDArray[np.intp]) -> NDArray[np.float64]:
        """(O,) when each of `steps` (O,) steps had passed, seconds since the epoch."""
        return np.asarray(self.end_at - (self.values.shape[1] - steps) * self.step_s, np.float64)

    def last(self, steps: int) -> RateHistory:
        """Only the last `steps` steps."""
        return RateHistory(self.values[:, -steps:], self.end_at, self.step_s)


def rates_only(values: NDArray[np.floating]) -> FloatArray:
    """`values` as float32 with all that is no rate (negative, infinite, too large for float32) as NaN.

    What is all rates is given back as it is: to find that out is several times as fast as a copy.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        rates = np.asarray(values, dtype=np.float32)
        if rates.size and rates.min() >= 0.0 and rates.max() < np.inf:
            return rates
        return np.where(np.isfinite(rates) & (rates >= 0.0), rates, np.float32(np.nan))


def newest_known(history: RateHistory) -> FloatArray:
    """(S,) the last known value of the last 15 minutes (or of the last step, if that is longer); else NaN."""
    recent = history.newest(history.steps(FRESH_S))
    known = np.isfinite(recent)
    newest = recent.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return np.where(known.any(axis=1), recent[np.arange(len(recent)), newest], np.float32(np.nan))


def on_grid(
    at: NDArray[np.float64], values: NDArray[np.floating], *, end_at: float, step_s: float, steps: int
) -> FloatArray:
    """(steps,) means of the samples `values` (N,) taken at `at` (N,), one for each step that ends by `end_at`.

    A sample belongs to the step that its time falls in, the end included. Of samples with the very same time the
    last one in `at` counts. Steps without a sample are NaN.
    """
    rates = rates_only(values)
    _, newest = np.unique(at[::-1], return_index=True)
    kept = len(at) - 1 - newest
    slot = steps - 1 - np.floor((end_at - at[kept]) / step_s).astype(np.int64)
    good = (slot >= 0) & (slot < steps) & np.isfinite(rates[kept])
    total = np.bincount(slot[good], rates[kept][good], steps)
    count = np.bincount(slot[good], minlength=steps)
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32)
