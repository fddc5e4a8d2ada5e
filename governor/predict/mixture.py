"""Simple forecasts beside the model, weighted for each service by what they were worth there.

The experts are the model and three centres c with quantiles of the service's own errors around them: the mean of
the last 15 minutes, the last value, and the mean of the last 15 minutes plus what yesterday grew by over the
horizon.

    expert e:  e_q = c + o_q,          o_q <- o_q + 0.05 * 2 |c - y| * (q - [y < c + o_q])
    mix:       z_q = sum of w_e e_q,   w_e in proportion to start_e * exp(-0.2 * D_e)
    loss:      D_e <- 0.99 D_e + pinball(e_q, y) in requests / running mean of all experts and quantiles

each for itself per service, horizon and quantile; |c - y| is a running mean. An error counts in requests, not
in z: counted in z, the many quiet nights choose the expert for the few hours in which a crowd comes. A forecast
that was made while the newest outcomes lay beyond their bands has losses of its own: who is right on ordinary
days is often not who is right amid a surprise. What the model never saw, such as a level that drifts by the
day, moves the weight to whoever follows it. Source: exponentially weighted average forecaster, Cesa-Bianchi and
Lugosi, Prediction, Learning, and Games, 2006, chapter 2; averaged quantiles: Lichtendahl et al. 2013.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.features import NAMES
from governor.predict.model import QUANTILES, anchor

CENTRES = 3
START = (0.4, 0.15, 0.3, 0.15)
"""Weights before anything is known: the model, then the centres in the order of `centres`."""
SHARPNESS = 0.2
FORGET = 0.99
"""Weight that what is known keeps at each outcome."""
LARGEST = 8.0
"""Most that one outcome counts, in mean losses: one spike does not choose the expert."""
FARTHEST = 6.0
"""Most in z that an outcome or a forecast counts for: four hundred times the level."""
RATE = 0.05
FASTEST = 0.02
"""Least weight of the newest error in its running mean."""
LATEST = 0.02
"""Least weight of the newest loss in the running mean that losses are relative to."""
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
    """(S, H, 2, 1 + CENTRES, Q) discounted relative losses, on ordinary moments and amid a surprise."""
    scale: NDArray[np.float64]
    """(S, H) running mean of the loss of all experts and quantiles, in the history's unit."""
    outcomes: NDArray[np.int32]
    """(S, H) outcomes seen."""


def begin(services: int, horizons: int) -> Mixture:
    """State of services without any outcome."""
    shape = (services, horizons)
    return Mixture(
        np.full((*shape, CENTRES, len(QUANTILES)), np.nan, np.float32),
        np.zeros((*shape, CENTRES), np.float32),
        np.zeros((*shape, 2, 1 + CENTRES, len(QUANTILES)), np.float32),
        np.zeros(shape),
        np.zeros(shape, np.int32),
    )


def centres(rows: FloatArray, newest_z: NDArray[np.floating]) -> NDArray[np.float64]:
    """(S, H, CENTRES) in z, from rows (S, H, F) and the last known values (S,); growth is at most a factor e."""
    recent = anchor(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:2])
    growth = np.clip(np.nan_to_num(rows[..., _GROWTH].astype(np.float64)), -1.0, 1.0)
    last = np.where(np.isfinite(newest_z)[:, None], newest_z[:, None], recent)
    return np.stack([recent, last, recent + growth], axis=-1)


def mixed(
    state: Mixture,
    model: NDArray[np.floating],
    around: NDArray[np.floating],
    surprised: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """(S, H, Q) of the model's quantiles (S, H, Q) and `centres` (S, H, CENTRES), all in z, never decreasing.

    `surprised` (S,) says whose newest outcomes, when this forecast is made, lay beyond their bands.
    """
    losses = state.losses[np.arange(len(surprised)), :, surprised.astype(np.intp)]
    scores = np.log(np.asarray(START, np.float32))[:, None] - np.float32(SHARPNESS) * losses
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
    level: NDArray[np.float64],
    surprised: NDArray[np.bool_],
) -> Mixture:
    """The state after the outcomes (S, H) in z of the level (S,); what is NaN teaches nothing.

    `surprised` (S,) is what `mixed` was given when the forecast was made.
    """
    known = np.isfinite(outcome) & np.isfinite(model).all(axis=-1) & np.isfinite(around).all(axis=-1)
    if not known.any():
        return state
    y = np.where(known, outcome, 0.0)
    told = np.where(known[..., None, None], _experts(state, model, around), 0.0)
    newest = np.asarray(1.0 / (1.0 + state.outcomes), np.float64)
    relative, scale = _losses(y, told, np.where(np.isfinite(level), level, 1.0), state.scale, newest)
    weight = np.maximum(FASTEST, newest)[..., None]
    distance = np.abs(y[..., None] - around)
    errors = state.errors + weight * (distance - state.errors)
    offsets = told[:, :, 1:] - around[..., None]
    service, amid = np.arange(len(surprised)), surprised.astype(np.intp)
    losses = state.losses.copy()
    before = state.losses[service, :, amid]
    losses[service, :, amid] = np.where(known[..., None, None], FORGET * before + relative, before)
    below = y[..., None, None] < told[:, :, 1:]
    offsets = offsets + RATE * 2.0 * errors[..., None] * (_Q - below)
    return Mixture(
        np.where(known[..., None, None], offsets, state.offsets).astype(np.float32),
        np.where(known[..., None], errors, state.errors).astype(np.float32),
        losses,
        np.where(known, scale, state.scale),
        state.outcomes + known.astype(np.int32),
    )


def _losses(
    y: NDArray[np.float64],
    told: NDArray[np.float64],
    level: NDArray[np.float64],
    scale: NDArray[np.float64],
    newest: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(S, H, 1 + CENTRES, Q) losses of `told` relative to their running mean, and (S, H) that mean."""
    rate = level[:, None, None, None]
    # The offset in z is in both and cancels.
    error = rate * (np.exp(np.minimum(y, FARTHEST))[..., None, None] - np.exp(np.minimum(told, FARTHEST)))
    pinball = np.maximum(_Q * error, (_Q - 1.0) * error)
    scale = scale + np.maximum(LATEST, newest) * (pinball.mean(axis=(2, 3)) - scale)
    relative = pinball / (scale[..., None, None] + 1e-9 * rate)
    return np.minimum(relative, LARGEST), np.asarray(scale, np.float64)


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
    return np.asarray(around[..., [expert - 1]] + np.where(np.isfinite(offsets), offsets, width), np.float64)
