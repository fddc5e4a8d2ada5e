"""Made-up flash crowds: what they are, where they are, and that they make a model see one coming."""

from __future__ import annotations

import numpy as np
import pytest

from governor.predict.history import RateHistory
from governor.predict.model import raw_quantiles
from governor.train.crowds import Crowds, with_crowds
from governor.train.dataset import draw, joined
from governor.train.fit import Shape, fit
from governor.train.score import pinball
from governor.train.series import Series

STEP_S = 300.0
ALWAYS = Crowds(a_day=2.0, rise_min=(30.0, 30.0), stay_min=(60.0, 60.0), fall_min=(30.0, 30.0), height=(3.0, 3.0))


def flat(days: int = 20, step_s: float = STEP_S) -> RateHistory:
    return RateHistory(np.full((1, int(days * 86_400 / step_s)), 50.0, np.float32), 1.7e9, step_s)


def factors(history: RateHistory, crowds: Crowds, seed: int = 0) -> np.ndarray:
    return with_crowds(history, crowds, np.random.default_rng(seed)).values[0] / history.values[0]


def test_a_crowd_rises_stays_and_falls_between_one_and_its_height() -> None:
    factor = factors(flat(), ALWAYS)
    assert factor.min() == 1.0
    assert factor.max() == pytest.approx(3.0)
    # Thirty minutes of steps of five, up and down: no step is more than half of the way.
    assert np.abs(np.diff(factor)).max() < 1.0


@pytest.mark.parametrize("step_s", [60.0, 300.0, 3600.0])
def test_crowds_are_as_many_and_as_long_on_every_grid(step_s: float) -> None:
    busy = [(factors(flat(40, step_s), ALWAYS, seed) > 2.0).mean() for seed in range(10)]
    # Two a day, each some 80 minutes above two thirds of its height.
    assert np.mean(busy) == pytest.approx(2 * 80 / 1440, rel=0.35)


def test_the_same_generator_makes_the_same_crowds_and_the_real_history_stays() -> None:
    history = flat()
    before = history.values.copy()
    np.testing.assert_array_equal(factors(history, Crowds(), 3), factors(history, Crowds(), 3))
    assert (factors(history, Crowds(), 3) != factors(history, Crowds(), 4)).any()
    np.testing.assert_array_equal(history.values, before)


def test_what_is_unknown_stays_unknown() -> None:
    values = flat().values.copy()
    values[0, 100:200] = np.nan
    crowded = with_crowds(RateHistory(values, 1.7e9, STEP_S), ALWAYS, np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(crowded.values), np.isnan(values))


def test_no_crowds_a_day_are_none() -> None:
    assert (factors(flat(), Crowds(a_day=0.0)) == 1.0).all()


def test_a_model_that_has_seen_crowds_follows_others_better() -> None:
    rng = np.random.default_rng(0)
    waves = 100.0 + 30.0 * np.sin(np.arange(20 * 288) * 2.0 * np.pi / 288.0)
    noisy = (waves * np.exp(0.05 * rng.standard_normal(waves.shape))).astype(np.float32)
    series = [Series("a", "g", RateHistory(noisy[None], 1.7e9, STEP_S))]
    # Of another kind than those that are learned from, and in time that nothing was learned from.
    others = Crowds(
        a_day=3.0, rise_min=(20.0, 40.0), stay_min=(30.0, 90.0), fall_min=(20.0, 40.0), height=(2.0, 4.0)
    )
    later = draw(series, (0.7, 1.0), 2000, seed=9, crowds=others)
    real = draw(series, (0.0, 0.7), 3000, seed=0)
    shape = Shape(trees=30, rows_in_leaf=20, bins=32)
    loss = [
        pinball(later.z, raw_quantiles(fit(data, 0, shape), later.rows)).mean()
        for data in (real, joined([real, draw(series, (0.0, 0.7), 1000, seed=1, crowds=Crowds())]))
    ]
    assert loss[1] < 0.95 * loss[0]
