"""How rare an exceedance is, from what was seen before: a p-value that needs no distribution.

    p = (1 + r_i) / (1 + n_i) * (1 + G_k) / (1 + G_0)

n_i: values of series i since it is no longer young; r_i: those outside their envelope; G_k: exceedances at
least as large as this one in the group of series that are calibrated together (all latencies, say), counted on
a ladder of K sizes; G_0: all of them. With one series a group this is the plain conformal p-value (1 + number
at least as large) / (1 + n); the group lends its tail, without which no series could ever be rarer than one in
its own length and a false discovery rate over a large mesh could never be met. Vovk, Gammerman and Shafer,
Algorithmic Learning in a Random World, 2005.

A young series makes many and large exceedances while its envelope is narrow: its first YOUNG values are neither
counted nor judged.

Old counts are halved, so that a service that becomes restless is believed to be restless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.detect.opinion import Families, combined

Array = NDArray[np.float64]
LADDER: Array = np.geomspace(1e-3, 10.0, 24)
"""Sizes of exceedance, in widths of the envelope, at which they are counted."""
YOUNG = 100
"""Values of a series before which nothing is called rare."""
SERIES_MEMORY = 32_768
"""Values of a series after which its counts are halved."""
GROUP_MEMORY = 2.0**22
"""Exceedances of a group after which its counts are halved."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Counts for V views of N series in Q groups."""

    seen: NDArray[np.float32]
    """(N,) values counted."""
    outside: NDArray[np.float32]
    """(V, N) values outside the envelope."""
    ladder: Array
    """(V, Q, K) exceedances of the group at least as large as each size."""

    @classmethod
    def empty(cls, views: int, series: int, groups: int) -> Calibration:
        """Nothing seen yet."""
        return cls(
            np.zeros(series, np.float32),
            np.zeros((views, series), np.float32),
            np.zeros((views, groups, len(LADDER))),
        )


def update(
    state: Calibration,
    exceedance: NDArray[np.floating],
    counted: NDArray[np.bool_],
    group: NDArray[np.intp],
    families: Families,
) -> tuple[Calibration, Array]:
    """P-values (N,) of the step, the views combined as `opinion` says; then the step is counted.

    exceedance (V, N); counted (N,): whether there was a value, of a series that is not young; group (N,)
    position of each series' group; families: the views of each. 1 where a value is not counted or lies inside its
    envelopes. Sizes between two rungs count as the lower one: p is never too small.
    """
    beyond = [np.flatnonzero(one >= float(LADDER[0])) for one in exceedance]
    beyond = [at[counted[at]] for at in beyond]
    some, place = _union(beyond, len(counted))
    each = np.ones((len(exceedance), len(some)))
    outside, ladder = state.outside.copy(), state.ladder.copy()
    for v, at in enumerate(beyond):
        rung = np.searchsorted(LADDER, exceedance[v, at], side="right") - 1
        counts, own, times = state.ladder[v], group[at], outside[v, at]
        rate = (1.0 + times) / (1.0 + state.seen[at])
        each[v, place[at]] = rate * (1.0 + counts[own, rung]) / (1.0 + counts[own, 0])
        outside[v, at] = times + 1.0
        cells = own * counts.shape[1] + rung
        sizes = np.bincount(cells, minlength=counts.size).reshape(counts.shape)
        ladder[v] += sizes[:, ::-1].cumsum(axis=1)[:, ::-1]
        ladder[v][ladder[v, :, 0] > GROUP_MEMORY] /= 2.0
    p = np.ones(len(counted))
    p[some] = combined(each, families)
    seen = state.seen + counted
    full = seen >= SERIES_MEMORY
    if full.any():
        seen, outside = np.where(full, seen / 2, seen), np.where(full, outside / 2, outside)
    return Calibration(seen, outside, ladder), p


def _union(positions: Sequence[NDArray[np.intp]], size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """What is in any of `positions`, ascending, and (size,) where in it each is; anything for the others."""
    there = np.zeros(size, np.bool_)
    for at in positions:
        there[at] = True
    some = np.flatnonzero(there)
    place = np.empty(size, np.intp)
    place[some] = np.arange(len(some))
    return some, place


def restart(state: Calibration, series: NDArray[np.intp]) -> Calibration:
    """Forget the counts of `series` (positions); their group keeps what they lent it."""
    seen, outside = state.seen.copy(), state.outside.copy()
    seen[series], outside[:, series] = 0.0, 0.0
    return Calibration(seen, outside, state.ladder)
