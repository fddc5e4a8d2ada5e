"""The request rates of all services as a coarse history that grows with every frame, and what may come.

Frames are folded into even steps (whole multiples of `step_s` since the epoch): the mean over a step's frames,
NaN where less than half of it was seen. Each whole step gives a new forecast, and as an outcome it teaches the
earlier ones. Between two steps the last forecast stands. A clock that jumps back changes nothing until it has
caught up; one that jumps ahead leaves a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor import rows
from governor.domain import FloatArray
from governor.predict import online
from governor.predict.features import HORIZONS_MIN
from governor.predict.forecast import Forecast, forecast, horizons_on, outcomes
from governor.predict.gate import Gate
from governor.predict.history import DAY_S, RateHistory, rates_only
from governor.predict.model import TrainedForecast

Array = NDArray[np.float64]
KEPT_S = 8.0 * DAY_S + 7_200.0
"""History that is kept: a week that features look back on, and more than a day around it."""
SEEN = 0.5
"""Share of a step that frames must cover."""
SOON_MIN = 5.0
"""How far ahead load matters to a decision of now."""
MOST = 3.0
"""Largest growth that is believed."""


@dataclass(frozen=True, eq=False)
class Made:
    """A forecast whose outcomes are still to come."""

    at: float
    """End of the history that it was made from, seconds since the epoch."""
    forecast: Forecast


@dataclass(frozen=True, eq=False)
class Demand:
    """What is remembered of S services' load."""

    services: tuple[str, ...]
    step_s: float
    step: int
    """The step being filled, counted from the epoch in `step_s`."""
    at: float
    """End of the last frame, seconds since the epoch."""
    volume: Array
    """(S,) requests seen in the step being filled."""
    seconds: Array
    """(S,) of it that were seen."""
    history: RateHistory | None = None
    """Whole steps; None before the first."""
    online: online.Online | None = None
    """What was learnt of each service while serving; None without a model."""
    model: str = ""
    """Name of the model that it belongs to."""
    made: tuple[Made, ...] = ()
    """Oldest first; the newest is in force."""

    @classmethod
    def begin(cls, services: tuple[str, ...], at: float, step_s: float) -> Demand:
        """Nothing seen yet."""
        size = len(services)
        return cls(services, step_s, int(at // step_s), at, np.zeros(size), np.zeros(size))

    @property
    def forecast(self) -> Forecast | None:
        """What is expected, made at the end of the last whole step; None before the first."""
        return self.made[-1].forecast if self.made else None


def observe(
    state: Demand | None,
    services: tuple[str, ...],
    rate: NDArray[np.floating],
    *,
    at: float,
    window_s: float,
    step_s: float,
    trained: TrainedForecast | None,
) -> Demand:
    """The state after a frame of `window_s` seconds up to `at` with `rate` (S,) requests/s; NaN where unknown."""
    if state is None or state.step_s != step_s:
        state = Demand.begin(services, at, step_s)
    state = carried(state, services, trained)
    if at < state.at:
        return state
    now = int(at // step_s)
    if now > state.step:
        state = _stepped(state, now, trained)
    elif state.history is not None and not state.made:
        state = _expecting(_learnt(state, trained), trained)
    known = np.isfinite(rates_only(rate))
    covered = min(window_s, at - state.at) if at > state.at else 0.0
    covered = window_s if not state.seconds.any() else covered
    return replace(
        state,
        at=at,
        volume=state.volume + np.where(known, rate, 0.0) * covered,
        seconds=state.seconds + known * covered,
    )


def carried(state: Demand, services: tuple[str, ...], trained: TrainedForecast | None = None) -> Demand:
    """`state` over `services`: known ones keep their past, new ones have none, those that left are forgotten."""
    if state.services is services or state.services == services:
        return state
    source = rows.sources(state.services, services)
    volume, seconds = (rows.taken(values, source, 0.0) for values in (state.volume, state.seconds))
    history = state.history
    if history is not None:
        history = replace(history, values=rows.taken(history.values, source, np.nan))
    learnt = None
    if state.online is not None and trained is not None:
        fresh = online.begin(trained.prior, len(services), horizons_on(HORIZONS_MIN, state.step_s))
        learnt = online.carried(state.online, fresh, state.services, services)
    # What was said of other services lines up with nothing any more: those outcomes teach nobody.
    return replace(
        state, services=services, volume=volume, seconds=seconds, history=history, online=learnt, made=()
    )


def with_past(state: Demand, services: tuple[str, ...], past: RateHistory) -> Demand:
    """`state` with the load that was before it, of `services` (rows of `past`); what it has seen itself counts.

    The next frame brings a new forecast. Services that `state` does not know are left out.
    """
    assert past.step_s == state.step_s
    values = np.full((len(state.services), _kept(state.step_s)), np.nan, np.float32)
    source = rows.sources(services, state.services)
    _overlay(values, rows.taken(past.values, source, np.nan), state.step - round(past.end_at / past.step_s))
    if state.history is not None:
        _overlay(values, state.history.values, 0)
    return replace(state, history=RateHistory(values, state.step * state.step_s, state.step_s), made=())


def _overlay(values: FloatArray, over: FloatArray, behind: int) -> None:
    """Put what is known of `over`, which ends `behind` steps before the end of `values`, onto them."""
    if behind < 0:
        over, behind = over[:, :behind], 0
    stop = max(values.shape[1] - behind, 0)
    width = min(stop, over.shape[1])
    new = over[:, over.shape[1] - width :]
    np.copyto(values[:, stop - width : stop], new, where=np.isfinite(new))


def growth(state: Demand, rate: NDArray[np.floating]) -> Array:
    """(S,) upper quantile of the load within `SOON_MIN` over `rate` (S,), 1 to `MOST`.

    1 where no model serves: the naive forecast knows of no load to come.
    """
    found = state.forecast
    if found is None:
        return np.ones(len(state.services))
    soon = np.asarray(found.horizons_min) <= max(SOON_MIN, found.horizons_min[0])
    upper = found.quantiles[:, soon, 2].max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        more = np.clip(upper / rate, 1.0, MOST)
    return np.where((found.gate == Gate.MODEL) & np.isfinite(more), more, 1.0)


def lost(before: Forecast | None, now: Forecast | None) -> NDArray[np.intp]:
    """Positions of services that the model served before and has lost by drift now."""
    if before is None or now is None or len(before.gate) != len(now.gate):
        return np.empty(0, np.intp)
    return np.flatnonzero((before.gate == Gate.MODEL) & (now.gate == Gate.COVERAGE))


def _stepped(state: Demand, now: int, trained: TrainedForecast | None) -> Demand:
    """The step being filled is over, and `now` is the one to fill."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(state.seconds >= SEEN * state.step_s, state.volume / state.seconds, np.nan)
    gap = np.full((len(mean), min(now - state.step - 1, _kept(state.step_s))), np.nan, np.float32)
    whole = np.concatenate([mean[:, None].astype(np.float32), gap], axis=1)
    if state.history is not None:
        whole = np.concatenate([state.history.values, whole], axis=1)
    history = RateHistory(whole[:, -_kept(state.step_s) :], now * state.step_s, state.step_s)
    nothing = np.zeros(len(mean))
    state = replace(state, step=now, volume=nothing, seconds=nothing, history=history)
    return _expecting(_learnt(state, trained), trained)


def _expecting(state: Demand, trained: TrainedForecast | None) -> Demand:
    """With a forecast from the end of the history on; those whose outcomes are all known are forgotten."""
    assert state.history is not None
    end = state.history.end_at
    found = forecast(state.history, trained, state.online)
    made = (*state.made, Made(end, found))
    return replace(state, made=tuple(m for m in made if m.at + 60.0 * max(found.horizons_min) > end))


def _kept(step_s: float) -> int:
    return max(2, int(KEPT_S / step_s))


def _learnt(state: Demand, trained: TrainedForecast | None) -> Demand:
    """What the newest step of the history teaches of the forecasts made before; a new model starts afresh."""
    assert state.history is not None
    if trained is None:
        return replace(state, online=None, model="")
    if state.online is None or state.model != trained.name:
        # What an earlier model said is not held against this one.
        fresh = online.begin(trained.prior, len(state.services), horizons_on(HORIZONS_MIN, state.step_s))
        return replace(state, online=fresh, model=trained.name, made=())
    learnt = state.online
    for made in state.made:
        known = outcomes(made.forecast, made.at, state.history)
        if np.isfinite(known).any():
            learnt = online.learn(learnt, made.forecast.told, known)
    return replace(state, online=learnt)
