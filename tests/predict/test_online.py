"""What is learned while serving, per service, and who keeps it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from governor.predict import calibration, mixture
from governor.predict.features import HORIZONS_MIN, from_z, to_z
from governor.predict.forecast import forecast, outcomes
from governor.predict.gate import JUDGED_AFTER, Gate
from governor.predict.online import Online, Told, begin, carried, learn, quantiles
from tests.predict.fake_model import DAY, STEP_S, daily, history, trained

PRIOR = trained().prior


def told(model: float, centre: float, services: int = 1) -> Told:
    band = np.array([-0.2, 0.0, 0.2]) + model
    return Told(
        np.tile(band, (services, 1, 1)),
        np.full((services, 1, mixture.CENTRES), centre),
        np.ones(services),
        np.zeros(services, np.bool_),
    )


def outcome(value: float, services: int = 1) -> np.ndarray:
    return np.full((services, 1), value)


def middle(state: Online, said: Told) -> np.ndarray:
    return mixture.mixed(state.mixture, said.model, said.centres, said.surprised)


def taught(state: Online, said: Told, values: np.ndarray) -> Online:
    for value in values:
        state = learn(state, said, outcome(value))
    return state


def test_the_weight_goes_to_who_is_right() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.05, 300)
    state = begin(PRIOR, 1, [60.0])
    far, near = told(1.0, 0.0), told(0.0, 1.0)
    first = middle(state, far)[0, 0, 1]
    assert first == pytest.approx(mixture.START[0], abs=1e-6)
    after = taught(state, far, noise)
    assert abs(middle(after, far)[0, 0, 1]) < 0.1
    after = taught(state, near, noise)
    assert abs(middle(after, near)[0, 0, 1]) < 0.2


def test_a_centre_learns_the_quantiles_of_its_own_errors() -> None:
    noise = np.random.default_rng(1).normal(0.0, 1.0, 4000)
    state = taught(begin(PRIOR, 1, [60.0]), told(0.0, 0.0), noise)
    learned = state.mixture.offsets[0, 0, 0]
    np.testing.assert_allclose(learned, [-1.2816, 0.0, 1.2816], atol=0.3)


def test_one_spike_does_not_choose_the_expert() -> None:
    state = taught(begin(PRIOR, 1, [60.0]), told(0.0, 1.0), np.zeros(100))
    before = middle(state, told(0.0, 1.0))
    state = learn(state, told(0.0, 1.0), outcome(8.0))
    after = middle(state, told(0.0, 1.0))
    assert np.abs(after - before).max() < 0.2


def test_one_outcome_counts_at_most_so_much() -> None:
    settled = taught(begin(PRIOR, 1, [60.0]), told(0.0, 0.0), np.full(100, 0.01))
    before = settled.mixture.losses
    after = learn(settled, told(-3.0, 0.0), outcome(4.0)).mixture.losses
    assert (after - mixture.FORGET * before).max() == pytest.approx(mixture.LARGEST, rel=1e-4)


def test_who_is_right_when_there_is_load_gets_the_weight() -> None:
    """Nine quiet outcomes, on which the model is right, for each crowd, on which the last value is."""
    state = begin(PRIOR, 1, [60.0])
    for turn in range(300):
        crowd = turn % 10 == 0
        right, wrong = (1.0 if crowd else -2.0), (1.5 if crowd else -2.1)
        said = told(wrong if crowd else right, right if crowd else wrong)
        state = learn(state, said, outcome(right))
    mixed = middle(state, told(0.0, 1.0))
    assert mixed[0, 0, 1] > 0.7


def test_a_surprise_has_weights_of_its_own() -> None:
    """On ordinary moments the model is right, amid a surprise the last value."""
    state = begin(PRIOR, 1, [60.0])
    ordinary, amid = told(0.0, 1.0), replace(told(0.0, 1.0), surprised=np.ones(1, np.bool_))
    for _ in range(100):
        state = learn(state, ordinary, outcome(0.0))
        state = learn(state, amid, outcome(1.0))
    assert middle(state, ordinary)[0, 0, 1] < 0.2
    assert middle(state, amid)[0, 0, 1] > 0.8


def test_what_lies_beyond_its_band_is_a_surprise_until_the_next_outcome() -> None:
    state = learn(begin(PRIOR, 2, [60.0]), told(0.0, 0.0, 2), np.array([[5.0], [0.0]]))
    assert state.surprised.tolist() == [True, False]
    state = learn(state, told(0.0, 0.0, 2), np.full((2, 1), np.nan))
    assert state.surprised.tolist() == [True, False]
    after = carried(state, begin(PRIOR, 3, [60.0]), ["a", "b"], ["new", "b", "a"])
    assert after.surprised.tolist() == [False, False, True]
    assert learn(state, told(0.0, 0.0, 2), outcome(0.0, 2)).surprised.tolist() == [False, False]


def test_another_unit_teaches_the_same() -> None:
    values = np.random.default_rng(4).normal(0.0, 0.3, 100)
    in_seconds, in_minutes = begin(PRIOR, 1, [60.0]), begin(PRIOR, 1, [60.0])
    for value in values:
        in_seconds = learn(in_seconds, told(0.1, 0.0), outcome(value))
        in_minutes = learn(in_minutes, replace(told(0.1, 0.0), level=np.full(1, 60.0)), outcome(value))
    np.testing.assert_allclose(in_minutes.mixture.losses, in_seconds.mixture.losses, rtol=1e-4)


@pytest.mark.parametrize("width", [0.02, 0.2, 0.6])
def test_the_band_comes_to_hold_what_it_says(width: float) -> None:
    rng = np.random.default_rng(2)
    state, hits = begin(PRIOR, 1, [60.0]), []
    for value in rng.normal(0.0, width, 3000):
        low, _, high = quantiles(state, told(0.0, 0.0))[0, 0]
        hits.append(low <= value <= high)
        state = learn(state, told(0.0, 0.0), outcome(value))
    assert 0.76 <= np.mean(hits[1000:]) <= 0.84


def test_the_monitored_coverage_is_the_share_of_hits() -> None:
    state = begin(PRIOR, 1, [60.0]).calibration
    for value in np.tile([50.0, -50.0], 10):
        state = calibration.learn(state, told(0.0, 0.0).model, outcome(value))
    assert state.coverage[0, 0] == pytest.approx(0.8 * 0.99**20, abs=1e-3)


def test_the_adaptive_share_is_bounded_both_ways() -> None:
    state = taught(begin(PRIOR, 1, [60.0]), told(0.0, 0.0), np.full(500, 50.0))
    assert state.calibration.misses[0, 0, 1] >= calibration.FARTHEST[0]
    assert np.isfinite(state.calibration.offsets).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_unknown_teaches_nothing(bad: float) -> None:
    state = begin(PRIOR, 2, [60.0])
    values = np.array([[bad], [0.3]])
    after = learn(state, told(0.0, 0.0, 2), values)
    assert after.mixture.outcomes.tolist() == [[0], [1]]
    assert after.calibration.outcomes.tolist() == [[0], [1]]
    np.testing.assert_array_equal(after.mixture.losses[0], state.mixture.losses[0])
    np.testing.assert_array_equal(after.calibration.misses[0], state.calibration.misses[0])
    assert learn(state, told(np.nan, 0.0, 2), outcome(0.3, 2)).mixture is state.mixture


def test_learning_leaves_the_old_state_as_it_was() -> None:
    state = begin(PRIOR, 1, [60.0])
    losses, misses = state.mixture.losses.copy(), state.calibration.misses.copy()
    learn(state, told(0.0, 0.0), outcome(3.0))
    np.testing.assert_array_equal(state.mixture.losses, losses)
    np.testing.assert_array_equal(state.calibration.misses, misses)


def test_services_come_and_go_with_their_state() -> None:
    state = learn(begin(PRIOR, 2, [60.0]), told(0.0, 0.0, 2), np.array([[0.1], [5.0]]))
    after = carried(state, begin(PRIOR, 3, [60.0]), ["a", "b"], ["b", "new", "a"])
    assert after.mixture.outcomes[:, 0].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(after.calibration.misses[[0, 2]], state.calibration.misses[[1, 0]])
    np.testing.assert_array_equal(after.mixture.losses[[0, 2]], state.mixture.losses[[1, 0]])
    np.testing.assert_array_equal(after.calibration.scores, state.calibration.scores)


def test_an_outcome_belongs_to_the_forecast_that_spoke_of_its_moment() -> None:
    model, values = trained(), daily()
    state = begin(model.prior, 3, HORIZONS_MIN)
    past = history(values, end_at=1.7e9 + 1800.0).until(9 * DAY - 6)
    made = forecast(past, model, state)
    came = outcomes(made, past.end_at, history(values, end_at=1.7e9 + 1800.0))
    # 1, 5, 15, 30 and 60 minutes ahead: half an hour has passed.
    np.testing.assert_array_equal(np.isfinite(came), np.tile([False, False, False, True, False], (3, 1)))
    np.testing.assert_allclose(from_z(came[:, 3], made.level), values[:, -1], rtol=1e-4)
    np.testing.assert_allclose(to_z(values[:, -1], made.level), came[:, 3], rtol=1e-4)
    late = history(values, end_at=past.end_at + 40 * STEP_S)
    assert np.isnan(outcomes(made, past.end_at, late)).all()


def test_a_service_whose_band_is_lost_falls_back_to_the_baseline() -> None:
    model, values = trained(), daily()
    state = begin(model.prior, 3, HORIZONS_MIN)
    one = forecast(history(values), model, state)
    wild = np.full((3, len(HORIZONS_MIN)), np.nan)
    wild[1] = 50.0
    adapted = state.calibration
    for _ in range(JUDGED_AFTER + 30):
        adapted = calibration.learn(adapted, one.told.model, wild)
    state = replace(state, calibration=adapted)
    gate = forecast(history(values), model, state).gate
    assert gate.tolist() == [Gate.MODEL, Gate.COVERAGE, Gate.MODEL]
