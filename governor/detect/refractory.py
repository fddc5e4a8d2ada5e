"""After something was said, only what is louder is heard, for a while.

    heard = max(loudness - held, 0),   loudness = -log10 p
    held <- max(held * (1 - 1/R), loudness if it was said)
    R = min(0.2 n, 4096) steps, n: values of the series so far

One incident makes many rare values. They are one finding. The wait grows with what has been seen, never with what
will come, and the p-value 10**-heard is never smaller than the one that came in, so that error control stays
valid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SHARE, LONGEST = 0.2, 4096.0


def damp(held: Array, p: Array) -> Array:
    """Damped p-values (N,) of p (N,) in (0, 1], given the loudness held against each series."""
    damped = np.ones(len(p))
    rare = np.flatnonzero(p < 1.0)
    damped[rare] = 10.0 ** -np.maximum(-np.log10(p[rare]) - held[rare], 0.0)
    return damped


def hold(held: Array, p: Array, said: NDArray[np.bool_], seen: NDArray[np.integer]) -> Array:
    """The next `held` (N,): said (N,) whether the finding was reported, seen (N,) values before it."""
    after = held.copy()
    waiting = np.flatnonzero(held)
    after[waiting] *= 1.0 - 1.0 / np.clip(SHARE * seen[waiting], 1.0, LONGEST)
    loud = np.flatnonzero(said & (p < 1.0))
    after[loud] = np.maximum(after[loud], -np.log10(p[loud]))
    return after
