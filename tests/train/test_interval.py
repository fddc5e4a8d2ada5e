"""Ratios of losses with the days resampled: what is shown, and what one day alone cannot show."""

from __future__ import annotations

import numpy as np
import pytest

from governor.predict.history import RateHistory
from governor.train.interval import FEWEST_DAYS, interval, losses_by_day
from governor.train.score import score
from governor.train.series import Series, Split
from governor.train.windows import Windows, windows_of


@pytest.fixture(scope="module")
def windows() -> list[Windows]:
    rng = np.random.default_rng(0)
    values = 50.0 * np.exp(0.2 * rng.standard_normal((2, 288 * 12))).astype(np.float32)
    series = [Series(f"s{i}", "g", RateHistory(values[[i]], 1.7e9, 300.0)) for i in range(2)]
    return windows_of(series, frozenset(), Split(score=0.75))


def test_losses_by_day_are_those_that_are_scored(windows: list[Windows]) -> None:
    said = [one.naive for one in windows]
    losses = losses_by_day(windows, said)
    # A quarter of twelve days, of both series together; the days of the calendar begin elsewhere.
    assert len(losses) == 4
    found = score(windows, said)
    assert found is not None
    load = sum(float(np.nansum(one.actual[one.scored])) for one in windows)
    assert losses.sum() == pytest.approx(found.wql * load)


def test_services_that_err_on_the_same_day_are_one_day(windows: list[Windows]) -> None:
    one, two = windows
    together = losses_by_day(windows, [one.naive, two.naive])
    apart = [losses_by_day([window], [window.naive]) for window in windows]
    np.testing.assert_allclose(together, apart[0] + apart[1])


def test_one_bad_day_of_twelve_shows_nothing() -> None:
    theirs = np.ones(12)
    ours = np.full(12, 0.8)
    ours[7] = 5.0
    found = interval(ours, theirs)
    assert found.ratio == pytest.approx(13.8 / 12)
    assert found.low < 1.0 < found.high


def test_a_little_worse_on_every_day_is_shown() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.uniform(1.0, 2.0, 12)
    found = interval(theirs * rng.uniform(1.02, 1.1, 12), theirs)
    assert 1.0 < found.low <= found.ratio <= found.high < 1.1


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        theirs = rng.gamma(4.0, 1.0, 40)
        found = interval(theirs * 1.05 * rng.lognormal(0.0, 0.3, 40) / np.exp(0.045), theirs)
        held += found.low <= 1.05 <= found.high
    assert 0.8 <= held / 200 <= 0.97


def test_of_few_days_only_the_ratio_is_said() -> None:
    found = interval(np.full(FEWEST_DAYS - 1, 0.5), np.ones(FEWEST_DAYS - 1))
    assert (found.low, found.ratio, found.high) == (0.5, 0.5, 0.5)


def test_nobody_beats_who_makes_no_error() -> None:
    assert interval(np.zeros(9), np.zeros(9)).ratio == 1.0
    assert interval(np.ones(9), np.zeros(9)).low > 1.0
