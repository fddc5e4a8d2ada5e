"""Regressions: load explains, relations break, inputs are bad."""

from __future__ import annotations

import numpy as np
import pytest

from governor.detect import expected

OPTIONS = expected.Options(lags=(1, 2), drivers=(0,), every=8, warm_up=64)


def run(rows: np.ndarray, options: expected.Options = OPTIONS) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (T, N, M) and deviations (T, N) of rows (T, N, M)."""
    state = expected.ExpectedState.empty(rows.shape[1], rows.shape[2], options)
    residuals, deviations = [], []
    for row in rows:
        state, r = expected.update(state, row, options)
        residuals.append(r)
        deviations.append(state.deviation)
    return np.array(residuals), np.array(deviations)


def loaded(steps: int = 600, entities: int = 3, seed: int = 1) -> np.ndarray:
    """Rate, latency and errors; both follow the rate."""
    rng = np.random.default_rng(seed)
    rate = 100 + 20 * rng.standard_normal((steps, entities))
    latency = 0.01 + 0.0005 * rate + 0.001 * rng.standard_normal(rate.shape)
    errors = 0.02 * rate + 0.1 * rng.standard_normal(rate.shape)
    return np.stack([rate, latency, errors], axis=2)


def test_load_explains_latency_and_the_same_latency_without_load_does_not() -> None:
    busy, broken = loaded(), loaded()
    busy[-1, 0, :] = [160, 0.09, 3.2]
    broken[-1, 0, :] = [100, 0.09, 2.0]
    assert np.abs(run(busy)[0][-1, 0, 1]) < 5
    assert run(broken)[0][-1, 0, 1] > 10
    assert run(broken)[1][-1, 0] > 4 * run(busy)[1][-1, 0]


def test_a_driver_is_not_judged_and_nothing_is_before_the_warm_up() -> None:
    residuals, _ = run(loaded())
    assert np.isnan(residuals[:, :, 0]).all()
    assert np.isnan(residuals[:64]).all()
    assert np.isfinite(residuals[-1, :, 1:]).all()


def test_residuals_of_ordinary_steps_have_about_their_usual_size() -> None:
    residuals, _ = run(loaded(steps=1500))
    assert residuals[500:, :, 1].std() == pytest.approx(1.0, abs=0.3)


def test_a_change_of_unit_changes_nothing() -> None:
    x = loaded()
    np.testing.assert_allclose(run(x * [1000, 1e-3, 7])[0], run(x)[0], rtol=1e-5, atol=1e-6)


def test_entities_do_not_depend_on_each_other_or_on_their_order() -> None:
    x = loaded(entities=4)
    options = expected.Options(lags=(1, 2), drivers=(0,), every=1, warm_up=64)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(x[:, order], options)[0], run(x, options)[0][:, order], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(run(x[:, [2]], options)[0], run(x, options)[0][:, [2]], rtol=1e-8, atol=1e-8)


def test_what_comes_later_changes_nothing_before() -> None:
    x, other = loaded(), loaded()
    other[400:] *= 50
    np.testing.assert_array_equal(run(x)[0][:400], run(other)[0][:400])


def test_one_regression_is_that_of_all_rows_at_once() -> None:
    x = loaded(steps=400, entities=1)
    options = expected.Options(lags=(1,), half_life=1e12, every=1, warm_up=64, ridge=1e-6)
    state = expected.ExpectedState.empty(1, 3, options)
    for row in x:
        state, _ = expected.update(state, row, options)
    mean, deviation = x[:, 0].mean(axis=0), x[:, 0].std(axis=0)
    np.testing.assert_allclose(state.mean[0], mean, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(state.square[0] / state.weight[0]), deviation, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entity_with_a_missing_value_learns_nothing_and_the_rest_is_as_ever(bad: float) -> None:
    x = loaded()
    x[300, 0, 1] = bad
    residuals, deviations = run(x)
    assert np.isnan(residuals[300, 0, 1])
    assert np.isfinite(deviations).all()
    assert np.isfinite(residuals[-1, :, 1:]).all()
    np.testing.assert_array_equal(residuals[:, 1:], run(loaded())[0][:, 1:])


def test_constants_are_expected_and_their_first_move_is_not() -> None:
    x = np.full((400, 1, 3), 0.5)
    x[-1, 0, 1] = 0.6
    residuals, deviations = run(x)
    assert np.nanmax(np.abs(residuals[:-1])) < 1e-6
    assert abs(residuals[-1, 0, 1]) == expected.CLIP
    assert np.isfinite(deviations).all()


def test_an_incident_does_not_become_what_is_expected() -> None:
    x = loaded(steps=800)
    x[500:560, 0, 1] += 0.2
    residuals, deviations = run(x)
    assert deviations[500:560, 0].max() > 20
    assert deviations[-1, 0] < 5
    assert np.abs(residuals[-100:, 0, 1]).mean() < 3
