"""Simple forecasts beside the model, weighted for each service by what they were worth there.

The experts are the model and three centres c with quantiles of the service's own errors around them: the mean of
the last 15 minutes, the last value, and the mean of the last 15 minutes plus what yesterday grew by over the
horizon.

    expert e:  e_q = c + o_q,          o_q <- o_q + 0.05 * 2 |c - y| * (q - [y < c + o_q])
    mix:       z_q = sum of w_e e_q,   w_e in proportion to start_e * exp(-0.1 * D_e)
    loss:      D_e <- 0.99 D_e + pinball(e_q, y) / mean pinball of all experts and quantiles

each for itself per service, horizon and quantile; |c - y| is a running mean. What the model never saw, such as a
level that drifts by the day, moves the weight to whoever follows it. Source: exponentially weighted average
forecaster, Cesa-Bianchi and Lugosi, Prediction, Learning, and Games, 2006, chapter 2; averaged quantiles:
Lichtendahl et al. 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.features import NAMES
from governor.predict.model import QUANTILES, anchor

CENTRES = 3
START = (0.55, 0.15, 0.15, 0.15)
"""Weights before anything is known: the model, then the centres in the order of `centres`."""
SHARPNESS = 0.1
FORGET = 0.99
"""Weight that what is known keeps at each outcome."""
LARGEST = 5.0
"""Most that one outcome counts, in mean losses: one spike does not choose the expert."""
RATE = 0.05
FASTEST = 0.02
"""Least weight of the newest error in its running mean."""
_GROWTH = NAMES.index("yesterday_growth_60_min")
_Q = np.asarray(QUANTILES)


@dataclass(frozen=True, eq=False)
class Mixture:
    """State for S services and H horizons."""

    offsets: FloatArray
    """(S, H, CENTRES, Q) quantiles of the errors around each centre, in z; NaN before the first outcome."""
    errors: FloatArray
    """(S, H, CENTRES) running mean of the absolute error of each centre, in z."""
    losses: FloatArray
    """(S, H, 1 + CENTRES, Q) discounted relative losses."""
    outcomes: NDArray[np.int32]
    """(S, H) outcomes seen."""


def begin(services: int, horizons: int) -> Mixture:
    """State of services without any outcome."""
    shape = (services, horizons)
    return Mixture(
        np.full((*shape, CENTRES, len(QUANTILES)), np.nan, np.float32),
        np.zeros((*shape, CENTRES), np.float32),
        np.zeros((*shape, 1 + CENTRES, len(QUANTILES)), np.float32),
        np.zeros(shape, np.int32),
    )


def centres(rows: FloatArray, newest_z: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S, H, CENTRES) in z, from rows (S, H, F) and the last known values (S,); growth is at most a factor e."""
    recent = anchor(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:2])
    growth = np.clip(np.nan_to_num(rows[..., _GROWTH].astype(np.float64)), -1.0, 1.0)
    last = np.where(np.isfinite(newest_z)[:, None], newest_z[:, None], recent)
    return np.stack([recent, last, recent + growth], axis=-1)


def mixed(state: Mixture, model: NDArray[np.floating], around: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S, H, Q) of the model's quantiles (S, H, Q) and `centres` (S, H, CENTRES), all in z, never decreasing."""
    scores = np.log(np.asarray(START, np.float32))[:, None] - np.float32(SHARPNESS) * state.losses
    best = scores[:, :, 0].copy()
    for expert in range(1, len(START)):
        np.maximum(best, scores[:, :, expert], out=best)
    # Expert by expert: numpy's sums over an axis of four are several times as slow.
    total, weighted = np.zeros_like(best), np.zeros(model.shape)
    for expert in range(len(START)):
        weight = np.exp(scores[:, :, expert] - best)
        total += weight
        weighted += weight * _expert(state, model, around, expert)
    return np.sort(weighted / total, axis=-1)


def learn(
    state: Mixture,
    model: NDArray[np.floating],
    around: NDArray[np.floating],
    outcome: NDArray[np.floating],
) -> Mixture:
    """The state after the outcomes (S, H) in z; what is NaN teaches nothing."""
    known = np.isfinite(outcome) & np.isfinite(model).all(axis=-1) & np.isfinite(around).all(axis=-1)
    if not known.any():
        return state
    y = np.where(known, outcome, 0.0)
    told = np.where(known[..., None, None], _experts(state, model, around), 0.0)
    error = y[..., None, None] - told
    pinball = np.maximum(_Q * error, (_Q - 1.0) * error)
    losses = FORGET * state.losses + np.minimum(
        pinball / (pinball.mean(axis=(2, 3), keepdims=True) + 1e-9), LARGEST
    )
    weight = np.maximum(FASTEST, 1.0 / (1.0 + state.outcomes))[..., None]
    distance = np.abs(y[..., None] - around)
    errors = state.errors + weight * (distance - state.errors)
    offsets = told[:, :, 1:] - around[..., None]
    offsets = offsets + RATE * 2.0 * errors[..., None] * (_Q - (error[:, :, 1:] < 0.0))
    return Mixture(
        np.where(known[..., None, None], offsets, state.offsets).astype(np.float32),
        np.where(known[..., None], errors, state.errors).astype(np.float32),
        np.where(known[..., None, None], losses, state.losses).astype(np.float32),
        state.outcomes + known.astype(np.int32),
    )


def _experts(state: Mixture, model: NDArray[np.floating], around: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S, H, 1 + CENTRES, Q)."""
    return np.stack([_expert(state, model, around, expert) for expert in range(len(START))], axis=2)


def _expert(
    state: Mixture, model: NDArray[np.floating], around: NDArray[np.floating], expert: int
) -> NDArray[np.float64]:
    """(S, H, Q) of the model (0) or of a centre; one that has no errors of its own yet has the model's width."""
    if expert == 0:
        return np.asarray(model, np.float64)
    offsets = state.offsets[:, :, expert - 1]
    width = model - model[..., [1]]
    return around[..., [expert - 1]] + np.where(np.isfinite(offsets), offsets, width)
