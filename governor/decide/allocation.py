"""Priority-tiered weighted max-min allocation over shared capacity, exact.

    tier by tier:  all x_j of the tier grow in proportion to share_j until x_j = D_j or a service it uses is full

Progressive filling (Bertsekas & Gallager, Data Networks, 6.5.2): each step jumps to the next event (a demand met
or a service full), so the result is exact after at most A steps a tier. Only services that full demand would
overfill can ever bind, so all others are left out before the first step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
EPSILON = 1e-12


@dataclass(frozen=True, eq=False)
class Allocation:
    """Result over A APIs."""

    admitted: Array
    """(A,) requests/s."""
    bottleneck: NDArray[np.int32]
    """(A,) position of the service that stopped the API, -1 where its demand is met."""


def allocate(
    demand: ArrayLike, cost: ArrayLike, budget: ArrayLike, tier: ArrayLike, share: ArrayLike
) -> Allocation:
    """Allocate `budget` (S,) to APIs with `demand` (A,) at `cost` (S, A) each.

    `tier` (A,): 0 is served first. `share` (A,) > 0: weight within the tier. A budget of inf never binds, a
    negative one counts as 0. ValueError if a demand or cost is negative or not finite.
    """
    want, use = np.asarray(demand, np.float64), np.asarray(cost, np.float64)
    _require(want, "demand")
    _require(use, "cost")
    room = np.maximum(np.asarray(budget, np.float64), 0.0)
    binding = np.flatnonzero(use @ want > room)
    admitted, bottleneck = want.copy(), np.full(len(want), -1, np.int32)
    if not len(binding):
        return Allocation(admitted, bottleneck)
    use, left = use[binding], room[binding].copy()
    touched = (use > EPSILON).any(axis=0)
    tiers, shares = np.asarray(tier), np.asarray(share, np.float64)
    for level in np.unique(tiers):
        members = np.flatnonzero((tiers == level) & touched)
        got, stop = _fill(want[members], use[:, members], left, shares[members])
        admitted[members] = got
        bottleneck[members] = np.where(stop >= 0, binding[stop], -1)
        left = np.maximum(left - use[:, members] @ got, 0.0)
    return Allocation(admitted, bottleneck)


def _fill(want: Array, use: Array, room: Array, share: Array) -> tuple[Array, NDArray[np.int64]]:
    """One tier: allocation (A',) and the row that stopped each API, -1 where demand did."""
    got, stop = np.zeros(len(want)), np.full(len(want), -1, np.int64)
    growing = want > 0
    left = room.copy()
    while growing.any():
        speed = np.where(growing, share, 0.0)
        drain = use @ speed
        with np.errstate(divide="ignore", invalid="ignore"):
            until_full = np.where(drain > EPSILON, left / drain, np.inf)
            until_met = np.where(growing, (want - got) / share, np.inf)
        step = min(float(until_full.min()), float(until_met.min()))
        got = np.where(growing, got + speed * step, got)
        left = np.maximum(left - drain * step, 0.0)
        met = growing & (until_met <= step * (1 + EPSILON))
        got = np.where(met, want, got)
        full = (until_full <= step * (1 + EPSILON)) & (drain > EPSILON)
        left[full] = 0.0
        blocked = growing & ~met & (use[full] > EPSILON).any(axis=0)
        if blocked.any():
            rows = np.flatnonzero(full)
            stop[blocked] = rows[np.argmax(use[rows][:, blocked] > EPSILON, axis=0)]
        growing = growing & ~met & ~blocked
    return got, stop


def _require(values: Array, name: str) -> None:
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} at {first} is {values[first]}: it must be finite and not negative")
