"""Columns against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from governor.predict.features import LOOK_BACK_S, NAMES, features, from_z, to_z
from governor.predict.history import RateHistory
from governor.predict.model import anchor
from tests.predict.fake_model import DAY, daily, history


def column(name: str, values: np.ndarray, minutes: float = 60.0) -> float:
    return float(features(history(values), [minutes]).rows[0, NAMES.index(name)])


def test_means_and_yesterday_are_relative_to_the_last_hour() -> None:
    values = daily(services=1)
    level = values[0, -12:].mean()
    made = features(history(values), [60.0])
    assert made.level[0] == pytest.approx(level, rel=1e-5)
    assert column("mean_120_min", values) == pytest.approx(to_z(values[0, -24:].mean(), level), abs=1e-4)
    # The quarter of an hour around this time yesterday, an hour on: three steps, the middle one is the moment.
    centre = 9 * DAY - 1 - DAY + 12
    then = values[0, centre - 1 : centre + 2].mean()
    assert column("yesterday_15_min", values) == pytest.approx(to_z(then, level), abs=1e-4)


def test_a_gap_is_left_out_of_a_mean() -> None:
    values = daily(services=1)
    values[0, -3] = np.nan
    level = np.nanmean(values[0, -12:])
    assert column("mean_30_min", values) == pytest.approx(to_z(np.nanmean(values[0, -6:]), level), abs=1e-4)


def test_what_is_beyond_the_history_is_unknown_and_not_zero() -> None:
    values = daily(days=0.5, services=1)
    assert np.isnan(column("yesterday_15_min", values))
    assert np.isnan(column("last_week_60_min", values))
    assert np.isfinite(column("mean_60_min", values))


def test_no_load_has_no_level() -> None:
    made = features(history(np.zeros((1, 2 * DAY))), [60.0])
    assert np.isnan(made.level).all()


def test_z_and_back() -> None:
    rates = np.array([0.0, 0.3, 5.0, 1e6])
    np.testing.assert_allclose(from_z(to_z(rates, np.array(2.0)), np.array(2.0)), rates, atol=1e-9)
    assert from_z(np.array(-50.0), np.array(2.0)) == 0.0


def test_the_anchor_is_the_last_quarter_of_an_hour_or_else_the_level() -> None:
    values = daily(services=1)
    rows = features(history(values), [60.0]).rows
    assert anchor(rows)[0] == pytest.approx(to_z(values[0, -3:].mean(), values[0, -12:].mean()), abs=1e-4)
    values[0, -3:] = np.nan
    assert anchor(features(history(values), [60.0]).rows)[0] == 0.0


@pytest.mark.parametrize("step_s", [60.0, 300.0, 3600.0])
def test_many_moments_of_one_history_are_looked_at_as_each_would_be(step_s: float) -> None:
    rng = np.random.default_rng(0)
    steps = int(9 * 86_400 / step_s)
    values = rng.gamma(5.0, 10.0, (1, steps)).astype(np.float32)
    values[0, rng.random(steps) < 0.05] = np.nan
    whole = RateHistory(values, 1.7e9, step_s)
    moments = np.array([1, steps // 9, steps // 3, steps - 1, steps])
    at_once = features(whole.each_until(moments, LOOK_BACK_S), [60.0, 120.0], whole.ends(moments))
    apart = [features(whole.until(int(moment)), [60.0, 120.0]) for moment in moments]
    np.testing.assert_allclose(at_once.rows, np.concatenate([one.rows for one in apart]), atol=1e-5)
    np.testing.assert_allclose(at_once.level, np.concatenate([one.level for one in apart]))
