"""The sums of a regression in other units: what was summed up of standardised signals, standardised anew.

    z' = a z + b,     a = scale / scale',  b = (centre - centre') / scale'
    f' = D f + s      D: a of each feature's signal, 1 for the constant;  s: its b, 0 for the constant
    sum f' f''  = D G D + D g s' + s g' D + n s s'
    sum f' z''  = (D M + s m') a + (D g + n s) b'
    sum e'^2    = a^2 sum e^2

G, M: the sums before; g, m: their last column and row, the sums of f and of z; n: the number of samples. Values
that were clipped stay clipped where they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Standard:
    """What N entities' M signals are measured by."""

    centre: Array
    """(N, M)."""
    scale: Array
    """(N, M); 0 for a signal that has never moved."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Of N entities with M signals and P features, the last of them constant."""

    gram: Array
    """(N, P, P) of f f'."""
    moment: Array
    """(N, P, M) of f z'."""
    error: Array
    """(N, M) of squared errors."""


def rebased(sums: Sums, old: Standard, new: Standard, drivers: tuple[int, ...], errors: Array) -> Sums:
    """`sums` as they were had the signals been standardised by `new`; errors (N,): how many were summed up.

    Nothing can be known of a signal that moved for the first time: its past is taken to lie at its new centre,
    and its error to be its deviation.
    """
    moved = old.scale > 0
    unit = np.where(new.scale > 0, new.scale, 1.0)
    a = np.where(moved, old.scale / unit, 0.0)
    b = np.where(moved, (old.centre - new.centre) / unit, 0.0)
    lags = (sums.gram.shape[1] - 1 - len(drivers)) // a.shape[1]
    one, none = np.ones((len(a), 1)), np.zeros((len(a), 1))
    stretch = np.concatenate([np.tile(a, lags), a[:, list(drivers)], one], axis=1)
    shift = np.concatenate([np.tile(b, lags), b[:, list(drivers)], none], axis=1)
    total = stretch * sums.gram[:, :, -1]
    count = sums.gram[:, -1, -1][:, None]
    gram = (
        stretch[:, :, None] * sums.gram * stretch[:, None, :]
        + total[:, :, None] * shift[:, None, :]
        + shift[:, :, None] * (total + count * shift)[:, None, :]
    )
    moment = stretch[:, :, None] * sums.moment + shift[:, :, None] * sums.moment[:, -1][:, None, :]
    moment = moment * a[:, None, :] + (total + count * shift)[:, :, None] * b[:, None, :]
    error = np.where(moved, a**2 * sums.error, errors[:, None])
    return Sums(gram, moment, error)
