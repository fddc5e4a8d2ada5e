"""NAB's rules and VUS-PR on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.evaluate.nab import Series, from_the_others, windowed_gaussian
from tests.benchmarks.evaluate.nab_rules import (
    LOW_FALSE_ALARMS,
    LOW_MISSES,
    STANDARD,
    best_threshold,
    labelled,
    nab_score,
    probation,
)
from tests.benchmarks.evaluate.vus_rules import ranges, vus_pr


def alarms(points: int, *at: int) -> np.ndarray:
    scores = np.zeros(points)
    scores[list(at)] = 1.0
    return scores


LABELS = labelled(1000, [(400, 499)])


def figure(*at: int) -> float:
    return nab_score([LABELS], [alarms(1000, *at)], 0.5, STANDARD)


def test_probation_is_fifteen_per_cent_and_750_at_most() -> None:
    assert probation(1000) == 150
    assert probation(100_000) == 750


def test_silence_scores_nothing_and_the_first_point_of_every_window_a_hundred() -> None:
    assert figure() == 0
    # The first point lies at (right - left + 1) / width = -1.
    assert figure(400) == pytest.approx(100)


def test_a_late_find_is_worth_less_and_the_best_alarm_of_a_window_counts() -> None:
    at_half = 2 / (1 + np.exp(-2.5)) - 1
    at_start = 2 / (1 + np.exp(-5)) - 1
    assert figure(450) == pytest.approx(50 + 50 * at_half / at_start)
    assert figure(400, 450, 499) == pytest.approx(100)


def test_false_alarms_cost_by_profile_and_less_just_behind_a_window() -> None:
    assert figure(400, 200) == pytest.approx(100 - 50 * 0.11)
    assert figure(400, 501) > figure(400, 700)
    costly = nab_score([LABELS], [alarms(1000, 400, 200)], 0.5, LOW_FALSE_ALARMS)
    assert costly == pytest.approx(100 - 50 * 0.22)
    assert nab_score([LABELS], [alarms(1000)], 0.5, LOW_MISSES) == 0
    assert nab_score([LABELS], [alarms(1000, 400, 200)], 0.5, LOW_MISSES) == pytest.approx(100 - 100 * 0.11 / 3)


def test_alarms_in_probation_are_not_scored() -> None:
    assert figure(10, 149) == 0


def test_the_best_threshold_is_that_of_trying_every_one() -> None:
    rng = np.random.default_rng(1)
    series = [labelled(600, [(200, 230), (400, 420)]), labelled(400, []), LABELS]
    scores = [np.round(rng.random(n), 2) for n in (600, 400, 1000)]
    scores[0][200:205] += 1.0
    scores[2][400:420] += 0.5
    tried = {t: nab_score(series, scores, t, STANDARD) for t in np.unique(np.concatenate(scores))}
    threshold, best = best_threshold(series, scores, STANDARD)
    assert best == pytest.approx(max(tried.values()))
    assert tried[threshold] == pytest.approx(best)


def test_no_alarm_is_best_where_every_alarm_is_false() -> None:
    assert best_threshold([LABELS], [alarms(1000, 700)], STANDARD) == (np.inf, 0.0)


def test_the_threshold_of_one_half_comes_from_the_other() -> None:
    series = [Series(str(i), np.arange(1000.0), np.zeros(1000), LABELS) for i in range(2)]
    both = [alarms(1000, 400) * 0.9, alarms(1000, 400) * 0.9]
    assert from_the_others(series, both, STANDARD) == pytest.approx(100)
    apart = [alarms(1000, 400) * 0.9, alarms(1000, 400) * 0.5]
    # The first is found at the second's threshold of 0.5, the second is silent at the first's 0.9.
    assert from_the_others(series, apart, STANDARD) == pytest.approx(50)


def test_the_windowed_gaussian_uses_only_the_past() -> None:
    x = np.random.default_rng(1).normal(size=300)
    other = x.copy()
    other[200:] = 50
    np.testing.assert_array_equal(windowed_gaussian(x, 100, 10)[:200], windowed_gaussian(other, 100, 10)[:200])
    assert windowed_gaussian(other, 100, 10)[200] > 0.999


def test_ranges_are_runs_of_labels() -> None:
    first, last = ranges(np.array([True, False, True, True, False, True]))
    assert first.tolist() == [0, 2, 5]
    assert last.tolist() == [0, 3, 5]


def labels(points: int, first: int, last: int) -> np.ndarray:
    answer = np.zeros(points, bool)
    answer[first : last + 1] = True
    return answer


def test_perfect_scores_have_a_volume_of_one_without_tolerance_and_the_share_of_labels_is_chance() -> None:
    y = labels(1000, 300, 399)
    assert vus_pr(y, y.astype(float), width=0) == pytest.approx(1.0, abs=0.01)
    chance = np.mean([vus_pr(y, np.random.default_rng(s).random(1000), width=0) for s in range(20)])
    assert chance == pytest.approx(0.1, abs=0.03)


def test_without_tolerance_it_is_the_average_precision() -> None:
    y = np.zeros(250, bool)
    y[[10, 11]] = True
    scores = np.zeros(250)
    scores[[10, 50, 11]] = [3.0, 2.0, 1.0]
    # One range of two points: found at rank 1 and 3, with precision 1 and 2/3.
    assert vus_pr(y, scores, width=0) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3, abs=1e-6)


def test_a_near_miss_counts_with_tolerance_only() -> None:
    y, near = labels(1000, 500, 509), labels(1000, 512, 515).astype(float)
    assert vus_pr(y, near, width=20) > 3 * vus_pr(y, near, width=0)


def test_only_order_counts() -> None:
    y = labels(500, 100, 120)
    scores = np.random.default_rng(2).random(500)
    assert vus_pr(y, np.exp(5 * scores)) == vus_pr(y, scores)


def test_nothing_labelled_has_no_figure() -> None:
    assert np.isnan(vus_pr(np.zeros(50, bool), np.zeros(50)))
