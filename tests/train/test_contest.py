"""Who may serve: better than every other method, in no group shown to be worse, with a band that holds."""

from __future__ import annotations

import numpy as np
import pytest

from governor.domain import FloatArray
from governor.predict.baseline import naive
from governor.predict.features import NAMES
from governor.predict.history import RateHistory
from governor.predict.model import QUANTILES, Prior, TrainedForecast, anchor
from governor.train.contest import CHALLENGER, CHAMPION, NAIVE, SEASONAL, UNSEEN, contest, ratio
from governor.train.series import Series, Split
from governor.train.windows import Windows, model_quantiles, windows_of

STEP_S = 300.0
STEPS = 288 * 16


class Seasonal:
    """QuantileModel that knows the day, and is off by a factor."""

    def __init__(self, off: float = 0.0, width: float = 0.05) -> None:
        self._off, self._width = off, width

    def predict(self, rows: FloatArray) -> FloatArray:
        middle = rows[:, NAMES.index("yesterday_15_min")] - anchor(rows) + self._off
        return np.stack([middle - self._width, middle, middle + self._width], axis=1).astype(np.float32)


def trained(off: float = 0.0) -> TrainedForecast:
    scores = np.tile(np.linspace(-0.1, 0.1, 100, dtype=np.float32), (1, 2, 1))
    return TrainedForecast("fake", Seasonal(off), Prior((60.0,), scores))


def series(name: str, group: str, *, daily: bool, seed: int) -> Series:
    rng = np.random.default_rng(seed)
    t = np.arange(STEPS)
    # A day of steep waves, of which the last value says little; or a walk, of which yesterday says nothing.
    wave = 2.0 * np.sin(2.0 * np.pi * 4.0 * t / 288.0)
    z = wave + 0.1 * rng.normal(size=STEPS) if daily else np.cumsum(0.1 * rng.normal(size=STEPS))
    return Series(name, group, RateHistory((50.0 * np.exp(z))[None].astype(np.float32), 1.7e9, STEP_S))


@pytest.fixture(scope="module")
def windows() -> list[Windows]:
    both = [
        series("a", "days", daily=True, seed=0),
        series("b", "days", daily=True, seed=1),
        series("c", "walk", daily=False, seed=2),
    ]
    return windows_of(both, frozenset({"b"}), Split(score=0.8))


def of_group(windows: list[Windows], group: str) -> list[Windows]:
    return [one for one in windows if one.series.group == group]


def test_who_beats_all_wins(windows: list[Windows]) -> None:
    result = contest(of_group(windows, "days"), trained(), None)
    assert result.won, result.lost
    assert set(result.scores) == {"days", "days" + UNSEEN}
    assert set(result.scores["days"]) == {CHALLENGER, NAIVE, SEASONAL}


def test_a_single_group_that_is_lost_loses_the_contest(windows: list[Windows]) -> None:
    result = contest(windows, trained(), None)
    assert ratio(result.intervals, NAIVE) < 1.0
    assert not result.won
    assert any(reason.startswith(f"it loses to {NAIVE} on walk") for reason in result.lost)
    assert not any(f"{NAIVE} on days" in reason for reason in result.lost)


def test_a_challenger_worse_than_the_model_in_use_loses(windows: list[Windows]) -> None:
    chosen = of_group(windows, "days")
    result = contest(chosen, trained(off=0.2), trained())
    assert any(f"does not beat {CHAMPION}" in reason for reason in result.lost)
    assert any(f"loses to {CHAMPION} on days" in reason for reason in result.lost)
    assert contest(chosen, trained(), trained(off=0.2)).won


def test_an_equal_of_the_model_in_use_does_not_replace_it(windows: list[Windows]) -> None:
    result = contest(of_group(windows, "days"), trained(), trained())
    assert not result.won
    assert "does not beat champion" in result.lost[0]


def test_nothing_to_score_is_no_victory() -> None:
    result = contest([], trained(), None)
    assert not result.won
    assert "nothing to score" in result.lost[0]


def test_windows_say_what_the_naive_forecast_said_and_what_came_true(windows: list[Windows]) -> None:
    one = windows[0]
    origin = int(one.origins[5])
    past = one.series.history.until(origin)
    np.testing.assert_allclose(one.naive[5], naive(past, one.horizons_min.tolist(), QUANTILES)[0])
    np.testing.assert_allclose(one.actual[5], one.series.history.values[0, origin : origin + 12])
    assert one.horizons_min.tolist() == [5.0 * i for i in range(1, 13)]


def test_a_forecast_learns_only_from_what_was_known_at_its_origin(windows: list[Windows]) -> None:
    one, model = windows[0], trained(off=0.3)
    said = model_quantiles(one, model.model, model.prior)
    changed = Windows(**{**vars(one), "actual": one.actual.copy()})
    changed.actual[40:] *= 7.0
    again = model_quantiles(changed, model.model, model.prior)
    # Origins are a quarter of an hour apart: the last outcome of the 40th becomes known at the 44th.
    np.testing.assert_array_equal(again[:44], said[:44])
    assert (again[44] != said[44]).any()


def test_one_forecast_an_hour_is_scored(windows: list[Windows]) -> None:
    one = windows[0]
    scored = one.origins[one.scored]
    assert set(np.diff(scored)) == {12}
    assert set(np.diff(one.origins)) == {3}
    assert scored[0] >= 0.8 * STEPS


def test_learning_online_makes_up_for_a_model_that_is_off(windows: list[Windows]) -> None:
    one, model = windows[0], trained(off=0.3)
    error = [
        np.abs(np.log(model_quantiles(one, model.model, model.prior, online=online)[40:, :, 1] / one.actual[40:]))
        for online in (True, False)
    ]
    assert np.nanmean(error[0]) < np.nanmean(error[1])
