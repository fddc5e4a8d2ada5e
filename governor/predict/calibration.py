"""Adaptive conformal calibration: the band of each service is widened until it holds what it says it holds.

Per service and horizon, apart for the lower and the upper end, each with its own share a of misses (target 0.1):

    score  E = z_lo - z  (or z - z_hi)           how far an outcome lay beyond the raw quantile
    offset   = quantile at 1 - a of the scores of the calibration part of the training
    a       <- a + 0.005 * (0.1 - miss)

A miss makes the next band wider, a hit a little narrower, so that the long-run share of misses is the target
whatever the load does. An a below zero widens beyond the largest score seen: no band is ever infinite. The scores
stay those of the training: with a service's own last hundred in their place, one spike widened its band for days
and the loss grew by a tenth. Source: Gibbs and Candes, Adaptive Conformal Inference Under Distribution Shift,
2021; scores after Romano et al., Conformalized Quantile Regression, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.model import Prior

MISSES = 0.1
"""Target share of outcomes beyond either end."""
RATE = 0.005
"""Step of the adaptive share: coverage follows a shift within some 200 outcomes."""
FARTHEST = (-0.5, 0.5)
"""Bounds of the adaptive share, so that a long outage does not take as long to forget."""
MEMORY = 1.0 / 100.0
"""Weight of the newest outcome in the monitored coverage."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """State for S services and H horizons."""

    scores: FloatArray
    """(H, 2, N) ascending, the same for all services."""
    misses: FloatArray
    """(S, H, 2) the adaptive share a of either end."""
    offsets: FloatArray
    """(S, H, 2) what is added to either end now, in z."""
    coverage: FloatArray
    """(S, H) recent share of outcomes within the band, exponentially weighted; starts at its target."""
    outcomes: NDArray[np.int32]
    """(S, H) outcomes seen."""


def begin(prior: Prior, services: int, horizons_min: Sequence[float]) -> Calibration:
    """State of services without any outcome of their own."""
    scores = np.sort(prior.scores[prior.bucket(horizons_min)], axis=-1)
    shape = (services, len(horizons_min))
    misses = np.full((*shape, 2), MISSES, np.float32)
    return Calibration(
        scores,
        misses,
        _offsets(scores, misses),
        np.full(shape, 1.0 - 2.0 * MISSES, np.float32),
        np.zeros(shape, np.int32),
    )


def calibrated(state: Calibration, z: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S, H, 3) lower, middle and upper quantile in z with the offsets; ends never cross the middle."""
    middle = z[..., 1].astype(np.float64)
    lower = np.minimum(z[..., 0] - state.offsets[..., 0], middle)
    upper = np.maximum(z[..., 2] + state.offsets[..., 1], middle)
    return np.stack([lower, middle, upper], axis=-1)


def learn(
    state: Calibration,
    z: NDArray[np.floating],
    outcome: NDArray[np.floating],
) -> Calibration:
    """The state after the outcomes (S, H) in z of the forecasts whose raw quantiles were `z` (S, H, 3).

    An outcome that is NaN, or whose forecast was, teaches nothing.
    """
    told = np.isfinite(outcome) & np.isfinite(z).all(axis=-1)
    if not told.any():
        return state
    band = calibrated(state, z)
    with np.errstate(invalid="ignore"):
        missed = np.stack([outcome < band[..., 0], outcome > band[..., 2]], axis=-1)
    adapted = np.clip(state.misses + RATE * (MISSES - missed), *FARTHEST)
    misses = np.where(told[..., None], adapted, state.misses).astype(np.float32)
    coverage = state.coverage + MEMORY * (~missed.any(axis=-1) - state.coverage)
    return replace(
        state,
        misses=misses,
        offsets=_offsets(state.scores, misses),
        coverage=np.where(told, coverage, state.coverage).astype(np.float32),
        outcomes=state.outcomes + told.astype(np.int32),
    )


def _offsets(scores: FloatArray, misses: FloatArray) -> FloatArray:
    """Quantiles of the scores (H, 2, N) at 1 - misses (S, H, 2), linear between; past the end by their range."""
    last = scores.shape[-1] - 1
    place = np.clip((1.0 - misses) * (last + 1) - 0.5, 0.0, last)
    low = np.floor(place).astype(np.intp)
    h, end = np.ogrid[: scores.shape[0], : scores.shape[1]]
    below, above = scores[h, end, low], scores[h, end, np.minimum(low + 1, last)]
    reach = scores[..., -1] - scores[..., last // 2]
    beyond = reach * np.maximum(0.0, -misses) / MISSES
    return np.asarray(below + (above - below) * (place - low) + beyond, np.float32)
