"""From when to when a series is abnormal, and when a change is accepted as the new normal.

An episode begins when a finding is believed; it holds the bound that was crossed. It ends when the view is back
inside that bound, or after `accept_s`, when what lasts is accepted as normal: a deploy that moved the level for
good. What came before is then to be forgotten, or a metric whose unit changed would have an envelope as wide as
both units together. A new finding during an episode moves neither its beginning nor its bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.detect.level import Levels

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Of N series: which are abnormal; NaN and 0 where there is no episode."""

    since: Array
    """(N,) seconds since the epoch."""
    view: NDArray[np.int8]
    """(N,) position of the view in the rows of `Levels`."""
    side: NDArray[np.int8]
    """(N,) +1 above, -1 below."""
    bound: Array
    """(N,) the end of the envelope that was crossed, in the view's unit."""
    p: Array
    """(N,) damped p-value at the beginning."""

    @classmethod
    def none(cls, series: int) -> Episodes:
        """Nothing is abnormal."""
        nan, zero = np.full(series, np.nan), np.zeros(series, np.int8)
        return cls(nan, zero, zero, nan, nan)

    @property
    def open(self) -> NDArray[np.bool_]:
        """(N,) abnormal now."""
        return np.isfinite(self.since)


def update(
    state: Episodes, levels: Levels, found: NDArray[np.bool_], p: Array, at: float, accept_s: float
) -> tuple[Episodes, NDArray[np.intp]]:
    """The episodes after one step, and the positions of the series whose change was accepted in it.

    found (N,): findings believed in the step. A missing value changes nothing.

    A clock that was set back does not make an episode younger than nothing: it then counts from `at`.
    """
    if not found.any() and not state.open.any():
        return state, np.empty(0, np.intp)
    since, view, side = state.since.copy(), state.view.copy(), state.side.copy()
    bound, rarity = state.bound.copy(), state.p.copy()
    running = np.flatnonzero(state.open)
    since[running] = np.minimum(since[running], at)
    now = levels.view[view[running], running]
    inside = levels.measured[running] & ((now - bound[running]) * side[running] <= 0)
    lasted = ~inside & (at - since[running] >= accept_s)
    over, accepted = running[inside | lasted], running[lasted]
    since[over], bound[over], rarity[over], side[over], view[over] = np.nan, np.nan, np.nan, 0, 0
    begun = np.flatnonzero(found & ~np.isfinite(since))
    begun = begun[~np.isin(begun, over)]
    row = levels.exceedance[:, begun].argmax(axis=0)
    above = levels.view[row, begun] > levels.high[row, begun]
    since[begun], view[begun], rarity[begun] = at, row, p[begun]
    side[begun] = np.where(above, 1, -1)
    bound[begun] = np.where(above, levels.high[row, begun], levels.low[row, begun])
    return Episodes(since, view, side, bound, rarity), accepted
