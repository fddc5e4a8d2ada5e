"""Exceedance of the envelope: units, gaps, order, past and future."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.detect import level


def run(values: np.ndarray, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Exceedance (T, V, N) of values (T, N)."""
    state = level.LevelState.empty(values.shape[1], dtype)
    answer = []
    for row in values:
        state, levels = level.update(state, row)
        answer.append(levels.exceedance)
    return np.array(answer)


def noise(steps: int, series: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 1, (steps, series))


def test_the_value_view_is_the_distance_from_all_that_was_before() -> None:
    x = noise(300, 2)
    high = np.maximum.accumulate(x, axis=0)[:-1]
    low = np.minimum.accumulate(x, axis=0)[:-1]
    over = np.maximum(np.maximum(x[1:] - high, low - x[1:]), 0)
    width = np.where(high > low, high - low, 1e-300)
    np.testing.assert_allclose(run(x)[1:, 0], np.minimum(over / width, level.CAP))


def test_a_spike_is_seen_by_the_value_view_with_its_size() -> None:
    x = np.tile([[0.0], [1.0]], (50, 1))
    x[-1] = 3.0
    assert run(x)[-1, 0, 0] == pytest.approx(2.0)


def test_a_rise_within_the_daily_range_is_seen_by_the_shift_view() -> None:
    t = np.arange(5300)
    x = np.sin(2 * np.pi * t / 3000)[:, None]
    x[5250:5290] += 0.9  # from the trough to near the middle: the value was there before
    exceedance = run(x)[5250:5290, :, 0].max(axis=0)
    assert exceedance[0] == 0
    assert exceedance[level.VIEWS.index("shift")] > 0.1


@given(st.floats(1e-6, 1e6), st.booleans())
def test_a_change_of_unit_changes_nothing(scale: float, flip: bool) -> None:
    x = noise(120, 3)
    np.testing.assert_allclose(run(x * scale * (-1 if flip else 1)), run(x), rtol=1e-6, atol=1e-9)


def test_series_do_not_depend_on_each_other_or_on_their_order() -> None:
    x = noise(200, 5)
    order = np.array([3, 0, 4, 2, 1])
    np.testing.assert_array_equal(run(x[:, order]), run(x)[:, :, order])
    np.testing.assert_array_equal(run(x[:, [2]]), run(x)[:, :, [2]])


def test_what_comes_later_changes_nothing_before() -> None:
    x, other = noise(200, 2), noise(200, 2)
    other[120:] = 1e6
    np.testing.assert_array_equal(run(x)[:120], run(other)[:120])


@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_what_is_not_a_number_changes_nothing(gap: float) -> None:
    x = noise(100, 1)
    with_gaps = np.insert(x, [20, 20, 60], gap, axis=0)
    answer = run(with_gaps)
    missing = ~(np.abs(with_gaps[:, 0]) <= level.LARGEST)
    assert not answer[missing].any()
    np.testing.assert_array_equal(answer[~missing], run(x))


def test_a_constant_is_normal_and_its_first_move_is_as_large_as_can_be_said() -> None:
    x = np.full((50, 1), 0.1)
    assert not run(x, np.float32).any()
    x[-1] = 0.2
    assert run(x, np.float32)[-1, 0, 0] == level.CAP


def test_rounding_of_a_large_constant_is_no_move() -> None:
    x = np.full((50, 1), 1e9)
    x[-1] = np.nextafter(np.float32(1e9), np.float32(2e9))
    assert not run(x, np.float32).any()


def test_a_first_value_has_nothing_to_exceed() -> None:
    assert not run(np.array([[5.0]])).any()


def test_what_lies_two_epochs_back_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "EPOCH", 20)
    x = np.tile([[0.0], [1.0]], (40, 1))
    x[3], x[30], x[75] = 9.0, 9.0, 9.0
    answer = run(x)[:, 0, 0]
    assert answer[30] == 0  # in the epoch before
    assert answer[75] > 5  # two epochs back


def test_a_restarted_series_knows_nothing_and_the_others_all() -> None:
    state = level.LevelState.empty(2, np.float64)
    for row in noise(50, 2):
        state, _ = level.update(state, row)
    state = level.restart(state, np.array([0]))
    _, levels = level.update(state, np.array([99.0, 99.0]))
    assert levels.exceedance[0].tolist() == [0.0, level.CAP]


def test_what_does_not_fit_single_precision_is_no_value() -> None:
    x = noise(60, 2)
    x[30, 0] = 1e300
    missing = x.copy()
    missing[30, 0] = np.nan
    np.testing.assert_array_equal(run(x, np.float32), run(missing, np.float32))
