"""Rows, fit, calibration and score."""

from __future__ import annotations

import numpy as np
import pytest

from governor.errors import TrainingError
from governor.predict.features import NAMES, features, to_z
from governor.predict.history import RateHistory
from governor.predict.model import raw_quantiles
from governor.train.calibrate import prior_of
from governor.train.dataset import Rows, draw
from governor.train.fit import Fitted, Shape, fit, weights
from governor.train.score import pinball
from governor.train.series import Series, Split, held_out

SMALL = Shape(trees=20, leaves=4, rows_in_leaf=20, bins=32)


def walk(seed: int = 0, days: int = 8, name: str = "a", group: str = "g") -> Series:
    rng = np.random.default_rng(seed)
    values = 20.0 * np.exp(np.cumsum(0.05 * rng.normal(size=288 * days)))
    return Series(name, group, RateHistory(values[None].astype(np.float32), 1.7e9, 300.0))


@pytest.fixture(scope="module")
def rows() -> Rows:
    return draw([walk()], (0.0, 0.7), 4000, seed=0)


@pytest.fixture(scope="module")
def fitted(rows: Rows) -> Fitted:
    return fit(rows, 0, SMALL)


def test_rows_hold_features_and_outcomes_of_the_same_origin() -> None:
    one = walk(days=3)
    made = draw([one], (0.5, 0.6), 50, seed=1)
    history = one.history
    steps = history.values.shape[1]
    first = round((made.at[0] - (history.end_at - steps * 300.0)) / 300.0)
    chosen = made.horizons_min[:5]
    expected = features(history.until(first), chosen.tolist())
    np.testing.assert_allclose(made.rows[:5], expected.rows, atol=1e-5)
    ahead = first + np.round(chosen / 5.0).astype(int) - 1
    np.testing.assert_allclose(made.z[:5], to_z(history.values[0, ahead].astype(float), expected.level))


def test_rows_stay_within_their_part_and_their_budget() -> None:
    one = walk()
    made = draw([one], (0.5, 0.6), 300, seed=0)
    start = one.history.end_at - one.history.values.shape[1] * 300.0
    span = one.history.values.shape[1] * 300.0
    assert 0 < len(made.z) <= 300
    assert start + 0.5 * span <= made.at[0] <= made.at[1] + 3600.0 <= start + 0.6 * span + 1.0


def test_groups_weigh_alike_whatever_their_sizes() -> None:
    big = [walk(seed=i, name=f"big{i}", group="big") for i in range(3)]
    made = draw([*big, walk(seed=9, name="small", group="small")], (0.0, 1.0), 2000, seed=0)
    alone = draw([walk(seed=9, name="small", group="small")], (0.0, 1.0), 1000, seed=0)
    assert len(made.z) == pytest.approx(2000, rel=0.02)
    assert len(alone.z) == pytest.approx(1000, rel=0.02)


def test_outcomes_that_are_unknown_are_left_out() -> None:
    one = walk()
    one.history.values[:, ::2] = np.nan
    made = draw([one], (0.0, 1.0), 1000, seed=0)
    assert np.isfinite(made.z).all()
    assert len(made.z) < 700


def test_nothing_to_learn_from_gives_no_rows() -> None:
    silent = Series("s", "g", RateHistory(np.full((1, 600), np.nan, np.float32), 1.7e9, 300.0))
    assert len(draw([silent], (0.0, 1.0), 100, seed=0).z) == 0


def test_the_same_seed_gives_the_same_model_and_another_does_not(rows: Rows) -> None:
    few = Rows(rows.rows[:250], rows.z[:250], rows.horizons_min[:250])
    said = [fit(few, seed, SMALL).predict(rows.rows[:200]) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(said[0], said[1])
    assert (said[0] != said[2]).any()


def test_quantiles_hold_their_share_of_what_was_fitted(rows: Rows, fitted: Fitted) -> None:
    said = raw_quantiles(fitted, rows.rows)
    share = (rows.z[:, None] <= said).mean(axis=0)
    np.testing.assert_allclose(share, [0.1, 0.5, 0.9], atol=0.05)


def test_a_load_far_beyond_what_was_fitted_goes_through_whole(fitted: Fitted) -> None:
    burst = np.full((1, 600), 10.0, np.float32)
    burst[0, -3:] = 5000.0
    made = features(RateHistory(burst, 1.7e9, 300.0), [5.0])
    middle = raw_quantiles(fitted, made.rows)[0, 1]
    assert middle == pytest.approx(to_z(np.array(5000.0), made.level)[0], abs=1.0)


def test_rows_of_busy_hours_weigh_more() -> None:
    row = np.zeros((4, len(NAMES)), np.float32)
    row[:, NAMES.index("mean_1440_min")] = [np.log(0.5), 0.0, 20.0, np.nan]
    np.testing.assert_allclose(weights(row), [2.0, 1.0, 0.1, 1.0], rtol=1e-5)


def test_the_prior_holds_how_far_outcomes_lay_beyond_the_band(rows: Rows, fitted: Fitted) -> None:
    prior = prior_of(fitted, rows)
    said = raw_quantiles(fitted, rows.rows)
    last = rows.horizons_min > 30.0
    assert prior.scores.shape == (4, 2, 100)
    np.testing.assert_allclose(prior.scores[-1, 1].mean(), (rows.z - said[:, 2])[last].mean(), atol=0.02)
    assert (np.diff(prior.scores, axis=-1) >= 0.0).all()


def test_too_little_to_calibrate_on_is_said(rows: Rows, fitted: Fitted) -> None:
    few = Rows(rows.rows[:10], rows.z[:10], rows.horizons_min[:10])
    with pytest.raises(TrainingError, match="only 10 outcomes to calibrate on, 50 are needed"):
        prior_of(fitted, few)


def test_the_loss_is_least_at_the_quantile() -> None:
    y = np.random.default_rng(0).normal(size=20_000)
    best = np.quantile(y, [0.1, 0.5, 0.9])
    at_best = pinball(y, np.tile(best, (len(y), 1))).mean()
    for off in (-0.2, 0.2):
        assert pinball(y, np.tile(best + off, (len(y), 1))).mean() > at_best
    assert pinball(np.array([3.0]), np.array([[1.0, 2.0, 5.0]]))[0] == pytest.approx(
        2.0 * (0.2 + 0.5 + 0.2) / 3.0
    )


def test_every_fourth_series_of_a_group_is_held_out_but_never_its_only_one() -> None:
    many = [walk(name=f"s{i}", group="many", days=1) for i in range(8)]
    alone = walk(name="alone", group="one", days=1)
    assert held_out([*many, alone], Split()) == {"s3", "s7"}
