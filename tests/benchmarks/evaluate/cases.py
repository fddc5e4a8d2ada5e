"""One recorded fault as evidence for a ranking, and how far a signal is from its normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.detect.root_cause import CallGraph, Excess

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """One fault."""

    graph: CallGraph
    excess: Excess
    every_z: Array
    """(N,) largest robust z of any signal of the node."""
    symptom: int
    culprit: int


@dataclass(frozen=True, eq=False)
class Departure:
    """Of N signals."""

    above: Array
    """(N,) mean of the window minus normal, in the signal's unit; 0 where unknown."""
    z: Array
    """(N,) the same in robust deviations, 0 to 1000; a deviation is at least 2 % of normal."""


def departure(before: Array, during: Array) -> Departure:
    """How far rows `during` (T, N) are above the median of rows `before` (B, N); NaN where not measured."""
    known = np.isfinite(before).any(axis=0) & np.isfinite(during).any(axis=0)
    above, z = np.zeros(before.shape[1]), np.zeros(before.shape[1])
    normal = np.nanmedian(before[:, known], axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(before[:, known] - normal), axis=0)
    above[known] = np.nanmean(during[:, known], axis=0) - normal
    z[known] = np.clip(above[known] / np.maximum(spread, 0.02 * np.abs(normal) + 1e-9), 0.0, 1000.0)
    return Departure(above, z)
