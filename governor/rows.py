"""Arrays whose rows are named things: when the things come and go, and summed up by what they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]
Number = TypeVar("Number", bound=np.generic)


def sources(old: Sequence[str], new: Sequence[str]) -> Positions:
    """(N,) position in `old` of each name in `new`, -1 where it was not there."""
    before = {name: i for i, name in enumerate(old)}
    return np.array([before.get(name, -1) for name in new], np.intp)


def carried(old: NDArray[Number], fresh: NDArray[Number], source: Positions, axis: int = 0) -> NDArray[Number]:
    """`fresh` with what `old` had at `source` along `axis`, where that is not -1."""
    known = np.flatnonzero(source >= 0)
    answer = np.moveaxis(fresh.copy(), axis, 0)
    answer[known] = np.moveaxis(old, axis, 0)[source[known]]
    return np.moveaxis(answer, 0, axis)


def taken(old: NDArray[Number], source: Positions, otherwise: float) -> NDArray[Number]:
    """The rows of `old` at `source`, `otherwise` where that is -1; one copy, for what is large."""
    known = source >= 0
    if not known.any():
        return np.full((len(source), *old.shape[1:]), otherwise, old.dtype)
    answer = old[np.where(known, source, 0)]
    answer[~known] = otherwise
    return answer


def sum_by(position: NDArray[np.integer], values: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(size,) sum of `values` for each position, NaN counted as nothing; NaN where there was no value at all."""
    known = np.isfinite(values)
    total = np.bincount(position[known], weights=values[known], minlength=size)
    seen = np.bincount(position[known], minlength=size)
    return np.where(seen > 0, total, np.nan)
