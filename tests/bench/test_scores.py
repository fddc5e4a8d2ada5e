from __future__ import annotations

import math

import numpy as np
import pytest

from tests.benchmarks.closed_loop import scores

FULL = np.full((1, 20), 100.0)


def goodput(*pieces: tuple[int, float]) -> np.ndarray:
    """One class: (seconds, requests/s), one after another."""
    return np.concatenate([np.full(seconds, rate) for seconds, rate in pieces])[None, :]


def test_a_share_is_of_all_goodput_within_the_window() -> None:
    assert scores.share(goodput((10, 0.0), (10, 80.0)), FULL, 10, 20) == pytest.approx(0.8)
    assert scores.share(goodput((10, 0.0), (10, 80.0)), FULL, 0, 20) == pytest.approx(0.4)
    assert math.isnan(scores.share(FULL, np.zeros((1, 20)), 0, 20))


def test_class_by_class_no_class_makes_up_for_another() -> None:
    optimum = np.array([[180.0] * 4, [120.0] * 4])
    blind = np.array([[90.0] * 4, [210.0] * 4])
    assert scores.share(blind, optimum, 0, 4) == pytest.approx(1.0)
    assert scores.share_by_class(blind, optimum, 0, 4) == pytest.approx(0.7)
    assert scores.share_by_class(optimum, optimum, 0, 4) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (((20, 100.0),), 0.0),
        (((4, 0.0), (16, 100.0)), 4.0),
        (((20, 94.0),), math.inf),
        (((20, 96.0),), 0.0),
        (((4, 0.0), (6, 100.0), (1, 0.0), (9, 100.0)), 11.0),  # a relapse counts as not recovered
        (((19, 100.0), (1, 0.0)), math.inf),
    ],
)
def test_recovered_means_for_good(pieces: tuple[tuple[int, float], ...], expected: float) -> None:
    assert scores.recovery_s(goodput(*pieces), FULL, 0, 20) == expected


def test_recovery_counts_from_the_start_of_its_window_and_needs_three_seconds() -> None:
    late = goodput((7, 0.0), (13, 100.0))
    assert scores.recovery_s(late, FULL, 5, 20) == 2.0
    assert scores.recovery_s(FULL, FULL, 18, 20) == math.inf


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (((20, 95.0),), 0.0),
        (((6, 0.0), (14, 100.0)), 6.0),
        (((20, 91.0),), math.inf),  # no window bad, the median too low
    ],
)
def test_settled_means_that_all_later_windows_hold(
    pieces: tuple[tuple[int, float], ...], expected: float
) -> None:
    assert scores.settling_s(goodput(*pieces), FULL, 0, 20) == expected


def test_settling_of_a_dip_is_exact_to_the_second() -> None:
    # windows from second 12 on hold (3 * 80 + 2 * 100) / 5 = 88 and more, their median 100
    assert scores.settling_s(goodput((10, 100.0), (5, 80.0), (5, 100.0)), FULL, 0, 20) == 12.0


def test_jain_is_one_for_equals_and_one_over_n_for_one_taking_all() -> None:
    assert scores.jain(np.array([3.0, 3.0, 3.0])) == pytest.approx(1.0)
    assert scores.jain(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    assert math.isnan(scores.jain(np.zeros(2)))


def test_fairness_is_judged_against_each_class_own_fair_share() -> None:
    optimum = np.array([[10.0] * 4, [100.0] * 4, [0.0] * 4])
    assert scores.fairness(0.9 * optimum, optimum, 0, 4) == pytest.approx(1.0)
    assert scores.fairness(np.array([[10.0] * 4, [0.0] * 4, [5.0] * 4]), optimum, 0, 4) == pytest.approx(0.5)
