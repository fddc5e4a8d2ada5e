"""Quantiles of grown buckets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.observe.histogram import least_count, mean, quantile

BOUNDS = np.array([10.0, 100, np.inf])


@pytest.mark.parametrize(
    ("grown", "q", "found"),
    [
        ((100, 100, 100), 0.5, 5),
        ((50, 100, 100), 0.75, 55),
        ((50, 100, 100), 0.5, 10),
        ((0, 0, 100), 0.5, 100),  # beyond the last bound: a lower estimate
        ((0, 0, 0), 0.5, np.nan),
        ((50, 40, 100), 0.5, 10),  # neighbours read a moment apart
        ((50, np.nan, 100), 0.5, 10),
        ((50, 100, np.nan), 0.5, np.nan),
    ],
)
def test_quantile_is_linear_within_a_bucket(grown: tuple[float, ...], q: float, found: float) -> None:
    assert quantile(np.array([grown], np.float64), BOUNDS, q)[0] == pytest.approx(found, nan_ok=True)


def test_without_buckets_there_is_no_quantile() -> None:
    assert np.isnan(quantile(np.empty((2, 0)), np.empty(0), 0.5)).tolist() == [True, True]


@given(st.lists(st.floats(0.01, 900), min_size=5, max_size=60), st.floats(0.05, 0.95))
def test_the_true_quantile_lies_in_the_bucket_that_is_found(latencies: list[float], q: float) -> None:
    bounds = np.array([1, 5, 10, 50, 100, 500, 1000, np.inf])
    grown = np.array([[np.count_nonzero(np.array(latencies) <= b) for b in bounds]], np.float64)
    found = quantile(grown, bounds, q)[0]
    true = float(np.quantile(latencies, q, method="inverted_cdf"))
    at = int(np.searchsorted(bounds, true))
    below = bounds[at - 1] if at else 0.0
    assert below - 1e-9 <= found <= bounds[at] + 1e-9


def test_fewest_requests_for_a_quantile() -> None:
    assert [least_count(q) for q in (0.5, 0.9, 0.99, 0.999)] == [20, 20, 100, 1000]


def test_mean_of_nothing_is_unknown() -> None:
    assert mean(np.array([6.0, 0]), np.array([3.0, 0])) == pytest.approx([2, np.nan], nan_ok=True)
