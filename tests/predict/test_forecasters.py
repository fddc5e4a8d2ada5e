"""What every forecaster keeps to, whatever it is fed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from governor.predict.baseline import naive, seasonal
from governor.predict.features import HORIZONS_MIN
from governor.predict.forecast import baseline, forecast
from governor.predict.gate import Gate
from governor.predict.history import RateHistory, on_grid
from governor.predict.model import QUANTILES
from governor.predict.online import begin
from tests.predict.fake_model import DAY, STEP_S, daily, history, trained

Forecaster = Callable[[RateHistory], np.ndarray]
HORIZONS = tuple(float(max(5, minutes)) for minutes in HORIZONS_MIN)


def _model(one: RateHistory) -> np.ndarray:
    model = trained()
    return forecast(one, model, begin(model.prior, len(one.values), HORIZONS_MIN)).quantiles


FORECASTERS: dict[str, Forecaster] = {
    "naive": lambda one: naive(one, HORIZONS, QUANTILES),
    "seasonal naive": lambda one: seasonal(one, HORIZONS, QUANTILES),
    "baseline": lambda one: baseline(one, HORIZONS),
    "model": _model,
    "no model": lambda one: forecast(one, None, None).quantiles,
}


@pytest.fixture(params=FORECASTERS, ids=str)
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    return FORECASTERS[request.param]


def test_quantiles_are_rates_in_order(forecaster: Forecaster) -> None:
    said = forecaster(history(daily()))
    assert said.shape == (3, len(HORIZONS), len(QUANTILES))
    assert np.isfinite(said).all()
    assert (said >= 0.0).all()
    assert (np.diff(said, axis=-1) >= 0.0).all()
    assert (said[..., 2] > said[..., 0]).all()


def test_a_metric_in_another_unit_gives_the_same_forecast_in_that_unit(forecaster: Forecaster) -> None:
    values = daily()
    said, in_minutes = forecaster(history(values)), forecaster(history(60.0 * values))
    np.testing.assert_allclose(in_minutes, 60.0 * said, rtol=1e-3)


def test_services_do_not_mix(forecaster: Forecaster) -> None:
    values = daily()
    together, alone = forecaster(history(values)), forecaster(history(values[1]))
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-6)


def test_only_what_was_known_counts(forecaster: Forecaster) -> None:
    values = daily()
    other = values.copy()
    other[:, 8 * DAY :] = 1e6
    np.testing.assert_array_equal(
        forecaster(history(values).until(8 * DAY)), forecaster(history(other).until(8 * DAY))
    )


def test_the_same_history_gives_the_same_forecast(forecaster: Forecaster) -> None:
    np.testing.assert_array_equal(forecaster(history(daily())), forecaster(history(daily())))


def test_a_constant_load_is_expected_to_go_on(forecaster: Forecaster) -> None:
    said = forecaster(history(np.full((1, 9 * DAY), 40.0)))
    np.testing.assert_allclose(said[..., 1], 40.0, rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, -5.0, np.inf, -np.inf, 1e39])
def test_what_is_no_rate_counts_as_unknown(forecaster: Forecaster, bad: float) -> None:
    values, gaps = daily(), daily()
    places = np.random.default_rng(3).choice(9 * DAY - 1, 500, replace=False)
    values[:, places], gaps[:, places] = bad, np.nan
    with np.errstate(over="ignore"):
        said = forecaster(history(values))
    np.testing.assert_array_equal(said, forecaster(history(gaps)))
    assert np.isfinite(said[:, :, 1]).any(axis=1).all()


@pytest.mark.parametrize("name", ["naive", "baseline", "model", "no model"])
def test_a_service_first_seen_an_hour_ago_has_a_forecast(name: str) -> None:
    values = daily()
    values[0, :-12] = np.nan
    said = FORECASTERS[name](history(values))
    assert np.isfinite(said).all()
    assert values[0, -12:].min() / 3.0 < said[0, 0, 1] < 3.0 * values[0, -12:].max()


def test_a_service_that_was_not_heard_of_for_an_hour_has_none() -> None:
    values = daily()
    values[1, -12:] = np.nan
    model = trained()
    said = forecast(history(values), model, begin(model.prior, 3, HORIZONS_MIN))
    assert said.gate.tolist() == [Gate.MODEL, Gate.STALE, Gate.MODEL]
    assert np.isnan(said.quantiles[1]).all()
    assert np.isfinite(said.quantiles[[0, 2]]).all()


def test_a_silent_service_is_expected_to_stay_silent() -> None:
    values = daily()
    values[2] = 0.0
    model = trained()
    said = forecast(history(values), model, begin(model.prior, 3, HORIZONS_MIN))
    assert said.gate[2] == Gate.NO_LOAD
    np.testing.assert_array_equal(said.quantiles[2], 0.0)


def test_no_services_give_no_forecast() -> None:
    model = trained()
    said = forecast(history(np.empty((0, DAY))), model, begin(model.prior, 0, HORIZONS_MIN))
    assert said.quantiles.shape == (0, len(HORIZONS), 3)


def test_a_unit_that_changes_is_followed_within_the_hour() -> None:
    values = daily(services=1)
    values[:, -12:] *= 1000.0
    said = _model(history(values))
    assert 0.3 < said[0, 0, 1] / values[0, -1] < 3.0


def test_a_clock_that_jumps_and_a_source_that_repeats_itself() -> None:
    at = np.array([300.0, 900.0, 600.0, 600.0, 1e12, -1e12])
    values = np.array([1.0, 3.0, 9.0, 2.0, 99.0, 99.0])
    grid = on_grid(at, values, end_at=1200.0, step_s=STEP_S, steps=4)
    np.testing.assert_array_equal(grid, np.array([1.0, 2.0, 3.0, np.nan], np.float32))
