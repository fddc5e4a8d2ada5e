"""Rows that come and go."""

from __future__ import annotations

import numpy as np

from governor.rows import carried, sources, sum_by, taken


def test_who_stays_is_found_and_who_is_new_is_not() -> None:
    assert sources(["a", "b", "c"], ["c", "x", "a"]).tolist() == [2, -1, 0]


def test_who_stays_keeps_its_values_and_the_rest_is_fresh() -> None:
    old, fresh = np.array([[1, 2], [3, 4], [5, 6]]), np.zeros((2, 2), int)
    assert carried(old, fresh, np.array([2, -1])).tolist() == [[5, 6], [0, 0]]
    assert carried(old.T, fresh, np.array([2, -1]), -1).tolist() == [[5, 0], [6, 0]]
    assert not fresh.any()


def test_nobody_stays_and_nobody_comes() -> None:
    assert carried(np.ones(3), np.zeros(0), np.empty(0, np.intp)).tolist() == []
    assert carried(np.ones(0), np.zeros(2), np.array([-1, -1])).tolist() == [0.0, 0.0]


def test_rows_are_taken_and_who_is_new_is_unknown() -> None:
    old = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(taken(old, np.array([1, -1]), np.nan), [[3.0, 4.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(taken(old[:0], np.array([-1]), 0.0), [[0.0, 0.0]])
    assert old[0, 0] == 1.0


def test_what_belongs_together_adds_up_and_what_is_unknown_is_not_zero() -> None:
    values = np.array([1.0, 2.0, np.nan, np.nan, 5.0], np.float32)
    found = sum_by(np.array([2, 2, 2, 0, 3]), values, 5)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 3.0, 5.0, np.nan])
