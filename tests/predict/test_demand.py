"""The load history: steps from frames, forecasts from steps, outcomes back to the calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from governor.domain import FloatArray
from governor.predict.demand import MOST, Demand, growth, lost, observe, with_past
from governor.predict.forecast import Forecast
from governor.predict.gate import Gate
from governor.predict.history import RateHistory
from governor.predict.model import Prior, TrainedForecast
from governor.predict.online import Told

STEP_S = 300.0
START = 1_000 * STEP_S
WINDOW_S = 60.0


CHANGE = np.log((np.array([0.5, 2.0, 4.0]) + 0.05) / 1.05)


class Doubling:
    """A stand-in for a model: twice the level is to come, half and four times are the ends."""

    def predict(self, rows: FloatArray) -> FloatArray:
        return np.tile(CHANGE, (len(rows), 1)).astype(np.float32)


PRIOR = Prior((5.0, 15.0, 60.0), np.linspace(-0.01, 0.01, 20, dtype=np.float32) * np.ones((3, 2, 1), np.float32))
TRAINED = TrainedForecast("doubling/1", Doubling(), PRIOR)


def fed(
    rates: list[list[float]],
    services: tuple[str, ...] = ("a", "b"),
    state: Demand | None = None,
    trained: TrainedForecast | None = None,
    start: float = START,
) -> Demand:
    """The state after one frame a minute, each with its rates, the first one ending a minute after `start`."""
    for n, row in enumerate(rates):
        at = start + WINDOW_S * (n + 1)
        rate = np.array(row)
        state = observe(state, services, rate, at=at, window_s=WINDOW_S, step_s=STEP_S, trained=trained)
    assert state is not None
    return state


def history(state: Demand) -> np.ndarray:
    assert state.history is not None
    return state.history.values


def test_a_step_is_the_mean_of_its_frames() -> None:
    state = fed([[10.0, 1.0], [20.0, 1.0], [30.0, 1.0], [40.0, 1.0], [0.0, 1.0]])
    assert history(state)[:, 0] == pytest.approx([(10 + 20 + 30 + 40) / 4, 1.0])
    assert state.history is not None
    assert state.history.end_at == START + STEP_S


def test_a_step_of_which_less_than_half_was_seen_is_unknown() -> None:
    rows = [[10.0, 1.0], [np.nan, 1.0], [np.nan, 1.0], [np.nan, -1.0], [10.0, np.inf], [10.0, 1.0]]
    assert history(fed(rows))[:, 0] == pytest.approx([np.nan, 1.0], nan_ok=True)


def test_a_clock_that_jumps_back_changes_nothing_until_it_has_caught_up() -> None:
    state = fed([[10.0, 1.0]] * 6)
    again = observe(
        state, state.services, np.array([99.0, 99.0]), at=START, window_s=60.0, step_s=STEP_S, trained=None
    )
    assert again is state


def test_a_clock_that_jumps_ahead_leaves_a_gap() -> None:
    state = fed([[10.0, 1.0]] * 5)
    later = fed([[10.0, 1.0]], state=state, start=START + 4 * STEP_S)
    assert history(later)[0] == pytest.approx([10.0, np.nan, np.nan, np.nan], nan_ok=True)


def test_a_jump_of_years_costs_no_more_than_the_history_holds() -> None:
    later = fed([[10.0, 1.0]], state=fed([[10.0, 1.0]] * 6), start=START + 1e9)
    assert np.isnan(history(later)).all()
    assert history(later).shape[1] < 3000


def test_the_same_time_twice_is_counted_once() -> None:
    state = fed([[10.0, 1.0]] * 2)
    twice = observe(
        state, state.services, np.array([99.0, 1.0]), at=state.at, window_s=60.0, step_s=STEP_S, trained=None
    )
    assert twice.volume == pytest.approx(state.volume)


def test_services_keep_their_past_when_others_come_and_go() -> None:
    state = fed([[10.0, 1.0]] * 6)
    later = fed([[7.0, 10.0]] * 5, ("new", "a"), state, start=START + 6 * 60.0)
    assert history(later)[1] == pytest.approx([10.0, 10.0])
    assert history(later)[0] == pytest.approx([np.nan, 7.0], nan_ok=True)


def test_without_a_model_the_naive_forecast_serves_and_tells_of_no_growth() -> None:
    state = fed([[10.0, 1.0]] * 100)
    assert state.forecast is not None
    assert set(state.forecast.gate) == {Gate.NO_MODEL}
    assert state.forecast.quantiles[0, 0, 1] == pytest.approx(10.0, rel=0.01)
    assert growth(state, np.array([1.0, 1.0])) == pytest.approx([1.0, 1.0])


def test_a_model_serves_once_its_history_is_there_and_tells_of_growth() -> None:
    state = fed([[10.0, 1.0]] * 40, trained=TRAINED)
    assert state.forecast is not None
    assert set(state.forecast.gate) == {Gate.MODEL}
    upper = state.forecast.quantiles[0, :2, 2].max()
    assert upper > 20.0
    assert growth(state, np.array([20.0, 1000.0])) == pytest.approx([upper / 20.0, 1.0])
    assert growth(state, np.array([0.1, np.nan])) == pytest.approx([MOST, 1.0])


def test_outcomes_come_back_to_the_calibration() -> None:
    state = fed([[10.0, 1.0]] * 300, trained=TRAINED)
    assert state.online is not None
    assert (state.online.calibration.outcomes[:, 0] > 30).all()
    assert (state.online.mixture.outcomes[:, 0] > 30).all()
    # The load never was what the model said, and the experts beside it know better by now.
    begun = fed([[10.0, 1.0]] * 100, trained=TRAINED)
    assert begun.forecast is not None
    assert state.forecast is not None
    assert abs(state.forecast.quantiles[0, 0, 1] - 10.0) < abs(begun.forecast.quantiles[0, 0, 1] - 10.0)


def drifted(state: Demand) -> Demand:
    """As if the bands of all services had held far too little for a long time."""
    assert state.online is not None
    calibration = state.online.calibration
    coverage = np.full_like(calibration.coverage, 0.3)
    many = np.full_like(calibration.outcomes, 100)
    lost_them = replace(calibration, coverage=coverage, outcomes=many)
    return replace(state, online=replace(state.online, calibration=lost_them))


def test_a_model_that_has_lost_a_service_gives_way_and_is_told_of() -> None:
    state = fed([[10.0, 1.0]] * 40, trained=TRAINED)
    before = state.forecast
    after = fed([[10.0, 1.0]] * 6, state=drifted(state), trained=TRAINED, start=START + 2_400.0)
    assert after.forecast is not None
    assert set(after.forecast.gate) == {Gate.COVERAGE}
    assert list(lost(before, after.forecast)) == [0, 1]
    assert list(lost(after.forecast, after.forecast)) == []
    assert growth(after, np.array([1.0, 1.0])) == pytest.approx([1.0, 1.0])


def test_a_new_model_is_not_judged_by_what_the_old_one_said() -> None:
    state = fed([[10.0, 1.0]] * 300, trained=TRAINED)
    other = replace(TRAINED, name="doubling/2")
    later = fed([[10.0, 1.0]] * 6, state=state, trained=other, start=START + 300 * 60.0)
    assert later.online is not None
    assert later.online.calibration.outcomes.max() == 0
    assert len(later.made) == 1


def test_another_step_begins_another_history() -> None:
    state = fed([[10.0, 1.0]] * 6)
    at = state.at + 60.0
    later = observe(state, state.services, np.ones(2), at=at, window_s=60.0, step_s=60.0, trained=None)
    assert later.history is None


def test_nothing_is_lost_before_there_is_a_forecast() -> None:
    assert list(lost(None, _gated(Gate.COVERAGE))) == []


def _gated(*gates: Gate) -> Forecast:
    none = np.zeros((len(gates), 1, 3))
    return Forecast(
        (5.0,),
        none,
        Told(none, none, none[:, 0, 0], np.zeros(len(none), np.bool_)),
        none[:, 0, 0],
        np.array(gates, np.int8),
    )


def test_a_service_that_the_baseline_served_was_not_lost() -> None:
    assert list(lost(_gated(Gate.TOO_SHORT, Gate.MODEL), _gated(Gate.COVERAGE, Gate.COVERAGE))) == [1]


def past(values: list[list[float]], ends_s: float) -> RateHistory:
    return RateHistory(np.array(values, np.float32), START + ends_s, STEP_S)


def test_what_was_before_the_start_stands_before_what_was_seen() -> None:
    state = fed([[10.0, 1.0]] * 6)
    whole = with_past(state, ("b", "x", "a"), past([[2.0, 3.0], [9.0, 9.0], [4.0, 5.0]], 0.0))
    assert history(whole)[:, -3:].tolist() == [[4.0, 5.0, 10.0], [2.0, 3.0, 1.0]]
    assert np.isnan(history(whole)[:, :-3]).all()
    assert whole.history is not None
    assert whole.history.end_at == START + STEP_S


def test_what_was_seen_counts_more_than_what_was_fetched_later() -> None:
    state = fed([[10.0, np.nan]] * 6)
    whole = with_past(state, ("a", "b"), past([[4.0, 7.0, 8.0], [5.0, 6.0, 8.0]], 2 * STEP_S))
    assert history(whole)[:, -2:].tolist() == [[4.0, 10.0], [5.0, 6.0]]


def test_a_past_that_ended_long_ago_leaves_a_gap() -> None:
    whole = with_past(fed([[10.0, 1.0]] * 6), ("a",), past([[4.0]], -STEP_S))
    assert history(whole)[0, -4:] == pytest.approx([np.nan, 4.0, np.nan, 10.0], nan_ok=True)


def test_with_a_past_the_next_frame_brings_a_forecast_by_the_model() -> None:
    state = fed([[10.0, 1.0]] * 6)
    whole = with_past(state, state.services, past([[10.0] * 20, [1.0] * 20], 0.0))
    assert whole.forecast is None
    later = fed([[10.0, 1.0]], state=whole, trained=TRAINED, start=START + 360.0)
    assert later.forecast is not None
    assert set(later.forecast.gate) == {Gate.MODEL}
