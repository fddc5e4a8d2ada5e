"""Rates from samples, with everything that can be wrong with samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.observe.counters import counter_rates, gauge_means, restarts, steps

NAN, INF = np.nan, np.inf


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None]


def seconds(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float64)


@pytest.mark.parametrize(
    ("values", "per_s", "span", "reset"),
    [
        ((0, 10, 20, 30), 10, 3, False),
        ((0, 10, 2, 12), 10, 2, True),  # the interval with the reset is in neither sum
        ((0, NAN, NAN, 30), 10, 3, False),  # a hole is bridged
        ((NAN, 10, 20, NAN), 10, 1, False),
        ((0, 10, INF, 30), 10, 3, False),
        ((50, 40, 30, 20), NAN, 0, True),
        ((NAN, NAN, 5, NAN), NAN, 0, False),
        ((5, 5, 5, 5), 0, 3, False),
    ],
)
def test_rate_of_one_counter(values: tuple[float, ...], per_s: float, span: float, reset: bool) -> None:
    rates = counter_rates(seconds(4), column(*values))
    assert rates.per_s[0] == pytest.approx(per_s, nan_ok=True)
    assert rates.span_s[0] == span
    assert rates.reset[0] == reset
    assert rates.not_finite[0] == (INF in values)


def test_an_interval_that_is_left_out_counts_as_a_reset() -> None:
    rates = counter_rates(seconds(4), column(0, 10, 500, 510), np.array([False, True, False]))
    assert (rates.per_s[0], rates.span_s[0], rates.reset[0]) == (10, 2, True)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_samples_have_no_rate(count: int) -> None:
    values = np.full((count, 2), 7.0)
    rates = counter_rates(seconds(count), values)
    assert np.isnan(rates.per_s).all()
    assert not rates.reset.any()
    assert steps(seconds(count), values).shape == (0, 2)


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=20),
    st.integers(0, 19),
    st.floats(0.1, 10),
)
def test_a_reset_anywhere_never_makes_a_rate_negative_nor_larger_than_the_largest_step(
    increases: list[float], at: int, step_s: float
) -> None:
    counter = np.cumsum(increases)
    cut = at % len(counter)
    counter[cut:] -= counter[cut]  # a new process counts from zero
    times = np.arange(len(counter)) * step_s
    rates = counter_rates(times, counter[:, None])
    if np.isfinite(rates.per_s[0]):
        assert 0 <= rates.per_s[0] <= max(increases) / step_s * (1 + 1e-9) + 1e-9
        assert 0 < rates.span_s[0] <= times[-1] + 1e-9


def test_steps_are_absent_where_a_sample_is_or_the_counter_fell() -> None:
    found = steps(np.array([0.0, 2, 4, 6, 8, 10]), column(0, 10, NAN, 30, 5, 9))[:, 0]
    assert found == pytest.approx([5, NAN, NAN, NAN, 2], nan_ok=True)
    left_out = np.array([True, False, False, False, False])
    assert np.isnan(steps(np.array([0.0, 2, 4, 6, 8, 10]), column(0, 10, NAN, 30, 5, 9), left_out)[0, 0])


def test_restart_is_when_most_counters_fall() -> None:
    values = np.array([[10.0, 10, 10, 0], [20, 5, 20, 0], [1, 1, 30, 0], [2, 2, NAN, 0]])
    assert restarts(values).tolist() == [False, True, False]
    assert restarts(values[:1]).tolist() == []
    assert restarts(np.array([[5.0, 5], [NAN, NAN]])).tolist() == [False]  # what is gone has no vote


def test_mean_of_a_gauge_leaves_out_what_is_absent_or_infinite() -> None:
    values = np.array([[1.0, NAN, INF], [3, NAN, 4], [NAN, NAN, 6]])
    assert gauge_means(values) == pytest.approx([2, NAN, 5], nan_ok=True)
