"""Adaptive conformal calibration: the band of each service is widened until it holds what it says it holds.

Per service and horizon, and apart for the lower and the upper end, each with its own share a of misses (target 0.1):

    score  E = z_lo - z  (or z - z_hi)           how far an outcome lay beyond the raw quantile
    offset   = quantile of the last N scores at 1 - a
    a       <- a + 0.02 * (0.1 - miss)

A miss makes the next band wider, a hit a little narrower, so that the long-run share of misses is the target whatever
the load does. An a below zero widens beyond the largest score seen: no band is ever infinite. Source: Gibbs and Candes,
Adaptive Conformal Inference Under Distribution Shift, 2021; scores after Romano et al., Conformalized Quantile
Regression, 2019.
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
RATE = 0.02
"""Step of the adaptive level: coverage follows a shift within some 50 outcomes."""
MEMORY = 1.0 / 100.0
"""Weight of the newest outcome in the monitored coverage."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """State for S services and H horizons."""

    scores: FloatArray
    """(S, H, 2, N) the last scores of either end, a ring; a new service has the prior's."""
    misses: FloatArray
    """(S, H, 2) the adaptive share a of either end."""
    offsets: FloatArray
    """(S, H, 2) what is added to either end now, in z."""
    coverage: FloatArray
    """(S, H) recent share of outcomes within the calibrated band, exponentially weighted; starts at its target."""
    outcomes: NDArray[np.int32]
    """(S, H) outcomes seen."""


def begin(prior: Prior, services: int, horizons_min: Sequence[float]) -> Calibration:
    """State of services without any outcome of their own."""
    scores = np.tile(prior.scores[prior.bucket(horizons_min)], (services, 1, 1, 1))
    misses = np.full(scores.shape[:3], MISSES, np.float32)
    return Calibration(
        scores,
        misses,
        _offsets(scores, misses),
        np.full(scores.shape[:2], 1.0 - 2.0 * MISSES, np.float32),
        np.zeros(scores.shape[:2], np.int32),
    )


def calibrated(state: Calibration, z: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S, H, 3) lower, middle and upper quantile in z with the offsets; ends never cross the middle."""
    middle = z[..., 1].astype(np.float64)
    lower = np.minimum(z[..., 0] - state.offsets[..., 0], middle)
    upper = np.maximum(z[..., 2] + state.offsets[..., 1], middle)
    return np.stack([lower, middle, upper], axis=-1)


def learn(state: Calibration, z: NDArray[np.floating], outcome: NDArray[np.floating]) -> Calibration:
    """The state after the outcomes (S, H) in z of the forecasts whose raw quantiles were `z` (S, H, 3).

    An outcome that is NaN, or whose forecast was, teaches nothing.
    """
    told = np.isfinite(outcome) & np.isfinite(z).all(axis=-1)
    if not told.any():
        return state
    beyond = np.stack([z[..., 0] - outcome, outcome - z[..., 2]], axis=-1).astype(np.float32)
    band = calibrated(state, z)
    with np.errstate(invalid="ignore"):
        missed = np.stack([outcome < band[..., 0], outcome > band[..., 2]], axis=-1)
    misses = np.where(told[..., None], state.misses + RATE * (MISSES - missed), state.misses).astype(np.float32)
    scores = state.scores.copy()
    slot = state.outcomes % scores.shape[-1]
    s, h = np.nonzero(told)
    scores[s, h, :, slot[s, h]] = beyond[s, h]
    within = ~missed.any(axis=-1)
    coverage = np.where(told, state.coverage + MEMORY * (within - state.coverage), state.coverage)
    return replace(
        state,
        scores=scores,
        misses=misses,
        offsets=_offsets(scores, misses),
        coverage=coverage.astype(np.float32),
        outcomes=state.outcomes + told.astype(np.int32),
    )


def _offsets(scores: FloatArray, misses: FloatArray) -> FloatArray:
    """Quantile of the scores at 1 - misses, linear between them; past the ends it goes on by the scores' own range."""
    ordered = np.sort(scores, axis=-1)
    last = ordered.shape[-1] - 1
    place = np.clip((1.0 - misses) * (last + 1) - 0.5, 0.0, last)
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, last)
    below = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
    above = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
    reach = ordered[..., -1] - ordered[..., last // 2]
    return np.asarray(
        below + (above - below) * (place - low) + reach * np.maximum(0.0, -misses) / MISSES, np.float32
    )
