"""What is usual at an hour: peaks that do not come, weekends, young series, gaps, clocks, rows that move."""

from __future__ import annotations

import numpy as np
import pytest

from governor.detect import conformal, level, opinion, season
from governor.detect.stage import DetectState, Evidence, Options, detect
from governor.detect.tables import Table
from governor.evidence import Anomaly

STEP_S = 900.0
DAY = int(86_400 / STEP_S)
MONDAY = 4 * 86_400.0
"""1970-01-05."""
ROWS = tuple(f"s{i}" for i in range(40))


def days(count: int, seed: int = 1, weekend: float = 1.0) -> np.ndarray:
    """(T, R) busy from 8 to 20 on each of `count` days from a Monday on, `weekend` times as busy at its end."""
    rng = np.random.default_rng(seed)
    hour = np.arange(count * DAY) * STEP_S / 3600.0
    busy = ((hour % 24 >= 8) & (hour % 24 < 20)).astype(float)
    busy *= np.where(hour // 24 % 7 >= 5, weekend, 1.0)
    return (20.0 + 80.0 * busy)[:, None] * rng.normal(1.0, 0.05, (len(hour), len(ROWS)))


def looks(x: np.ndarray, seasonal: bool = True) -> list[Evidence]:
    state, answer = DetectState(), []
    for step, row in enumerate(x.astype(np.float32)):
        table = Table("service", ROWS, ("rate",), row[None], seasonal=seasonal)
        state, evidence = detect(state, MONDAY + STEP_S * step, (table,), Options())
        answer.append(evidence)
    return answer


def begun(evidence: list[Evidence], subject: str) -> list[Anomaly]:
    """Those of `subject`, once for each look that holds them."""
    return [a for e in evidence for a in e.anomalies if a.subject == subject]


def test_a_peak_that_does_not_come_is_found_though_its_values_are_nothing_new() -> None:
    x = days(12)
    noon = 11 * DAY + DAY // 2
    x[noon - 8 : noon + 16, 3] = 20.0
    found = begun(looks(x)[noon - 8 : noon + 16], "s3")
    assert found
    assert found[0].view in season.VIEWS
    assert found[0].excess < 0
    assert not begun(looks(x, seasonal=False)[noon - 8 : noon + 16], "s3")


def test_the_first_quiet_weekend_and_the_monday_after_it_are_no_finding() -> None:
    x = days(16, weekend=0.3)
    found = [a for e in looks(x) for a in e.anomalies if a.view in season.VIEWS]
    assert len({a.subject for a in found}) <= len(ROWS) / 10


def state_after(x: np.ndarray, at: np.ndarray | None = None) -> season.SeasonState:
    """x: (T, N)."""
    state = season.SeasonState.empty(x.shape[1], 1)
    group = np.zeros(x.shape[1], np.intp)
    for step, row in enumerate(x):
        now = MONDAY + STEP_S * step if at is None else at[step]
        state, _, _ = season.update(state, now, row, group, conformal.YOUNG)
    return state


def test_usual_is_the_mean_of_the_hours_means_by_kind_of_day() -> None:
    x = days(7)[:, :3]
    state = state_after(np.vstack([x, x[:1]]))
    hours = x.reshape(7, 24, DAY // 24, 3).mean(axis=2)
    np.testing.assert_allclose(state.usual[:24], hours[:5].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(state.usual[24:], hours[5:].mean(axis=0), rtol=1e-5)
    assert (state.hours == np.repeat([5, 2], 24)[:, None]).all()


def test_after_fourteen_days_of_a_kind_the_newest_counts_a_fourteenth() -> None:
    hours = np.repeat(np.arange(15.0), DAY // 24)[:, None]
    at = MONDAY + np.concatenate(
        [(day // 5 * 7 + day % 5) * 86_400.0 + STEP_S * np.arange(DAY // 24) for day in range(15)]
    )
    state = state_after(np.vstack([hours, [[0.0]]]), np.append(at, at[-1] + 3_600.0))
    assert state.usual[0, 0] == pytest.approx(6.5 + (14.0 - 6.5) / 14.0)


def test_nothing_is_judged_before_a_week() -> None:
    x = days(9)[:, :1]
    x[6 * DAY + DAY // 2 :, 0] = 500.0 + 50.0 * np.arange(2 * DAY + DAY // 2)
    state, group = season.SeasonState.empty(1, 1), np.zeros(1, np.intp)
    p = []
    for step, row in enumerate(x):
        state, levels, rare = season.update(state, MONDAY + STEP_S * step, row, group, conformal.YOUNG)
        p.append(rare[0])
        assert (rare[0] < 1) <= (levels.exceedance.max() > 0)
    assert np.isnan(p[: 7 * DAY]).all()
    assert min(p[7 * DAY :]) < 1.0


def test_gaps_and_what_is_no_number_teach_nothing() -> None:
    x = days(3)[:, :2]
    holes = x.copy()
    # The first two of each hour's four.
    wrong = np.resize([np.nan, np.inf, -np.inf, 1e300], (len(x) // 4, 2))
    holes.reshape(-1, 4, 2)[:, :2, 1] = wrong
    state = state_after(holes)
    assert np.isfinite(state.usual).all()
    kept = holes[:DAY, 1].reshape(24, -1)[:, 2:].mean(axis=1)
    assert state_after(np.vstack([holes[:DAY], holes[:1]])).usual[:24, 1] == pytest.approx(kept)


def test_a_clock_set_back_makes_no_series_older_and_loses_nothing() -> None:
    x = np.full((4, 1), 10.0)
    back = state_after(x, MONDAY + np.array([7_200.0, 7_300.0, 0.0, 10.0]))
    assert back.since[0] == MONDAY
    assert back.hours.sum() == 1
    assert back.count[0] == 2


def test_each_series_may_have_a_clock_of_its_own() -> None:
    x, group = days(9)[:, :2], np.arange(2)
    both, alone = season.SeasonState.empty(2, 2), season.SeasonState.empty(1, 1)
    for step, row in enumerate(x):
        at = MONDAY + STEP_S * step
        both, _, p = season.update(both, np.array([at + 40_000.0, at]), row, group, conformal.YOUNG)
        alone, _, one = season.update(alone, at, row[1:], group[:1], conformal.YOUNG)
        np.testing.assert_array_equal(p[1:], one)
    np.testing.assert_array_equal(both.usual[:, 1:], alone.usual)


def test_rows_that_move_keep_what_is_usual() -> None:
    x = days(2).astype(np.float32)
    state = DetectState()
    for step, row in enumerate(x):
        table = Table("service", ROWS, ("rate", "errors"), np.stack([row, 2 * row]), seasonal=True)
        state, _ = detect(state, MONDAY + STEP_S * step, (table,), Options())
    before = state.tables["service"].season
    kept = ("new", ROWS[7], ROWS[3])
    table = Table("service", kept, ("rate", "errors"), np.ones((2, 3), np.float32), seasonal=True)
    state, _ = detect(state, MONDAY + STEP_S * len(x), (table,), Options())
    after = state.tables["service"].season
    assert before is not None
    assert after is not None
    for signal in (0, 1):
        np.testing.assert_array_equal(after.usual[9, 3 * signal + 1], before.usual[9, 40 * signal + 7])
        np.testing.assert_array_equal(after.usual[9, 3 * signal + 2], before.usual[9, 40 * signal + 3])
    assert (after.usual[:, [0, 3]] == 0).all()


def test_an_accepted_change_forgets_the_envelopes_but_not_the_hours() -> None:
    state = state_after(days(9)[:, :2])
    again = season.restart(state, np.array([0]))
    assert again.level.seen.tolist() == [0, state.level.seen[1]]
    np.testing.assert_array_equal(again.usual, state.usual)


@pytest.mark.parametrize("kind", ["none", "a day", "seven hours", "a walk"])
def test_without_any_anomaly_few_looks_find_one(kind: str) -> None:
    """As in test_validity, with a season: of the looks that judge it at most 5 % find anything."""
    rng = np.random.default_rng(7)
    steps, size = 10 * DAY, 300
    rows, t = tuple(map(str, range(size))), np.arange(steps)[:, None] * STEP_S
    wave = {
        "none": 0.0,
        "a day": 3 * np.sin(2 * np.pi * (t / 86_400.0 + rng.random(size))),
        "seven hours": 3 * np.sin(2 * np.pi * (t / 25_200.0 + rng.random(size))),
        "a walk": 0.1 * rng.normal(0, 1, (steps, size)).cumsum(axis=0),
    }[kind]
    x = (10 + wave + rng.normal(0, 0.5, (steps, size))).astype(np.float32)
    state, wrong = DetectState(), 0
    for step, row in enumerate(x):
        at = MONDAY + STEP_S * step
        state, evidence = detect(state, at, (Table("t", rows, ("x",), row[None], seasonal=True),), Options())
        wrong += step >= 7 * DAY and any(a.since == at for a in evidence.anomalies)
    assert wrong <= 0.05 * 3 * DAY


def test_shares_of_the_error_are_kept() -> None:
    rng = np.random.default_rng(3)
    p = rng.random((2, 100_000))
    said = opinion.weighed((p[0], p[1]), season.SHARES)
    assert sum(season.SHARES) == 1.0
    assert (said <= 0.05).mean() <= 0.0505
    assert (opinion.weighed((p[0], p[0]), season.SHARES) <= 0.05).mean() <= 0.05


def test_who_has_no_opinion_takes_no_share() -> None:
    none = np.full(2, np.nan)
    p = np.array([0.02, 1.0])
    assert opinion.weighed((p, none), season.SHARES).tolist() == p.tolist()
    assert opinion.weighed((none, p), season.SHARES).tolist() == p.tolist()
    assert opinion.weighed((none, none), season.SHARES).tolist() == [1.0, 1.0]


def test_the_views_of_a_season_are_those_of_level_without_the_shift() -> None:
    names = [view.removesuffix(" against the usual of the hour") for view in season.VIEWS]
    assert tuple(names) == level.VIEWS[:-1]
    assert level.FAMILIES[:-1] == season.FAMILIES
    families = len(level.FAMILIES) + len(season.FAMILIES)
    assert pytest.approx((len(level.FAMILIES) / families, len(season.FAMILIES) / families)) == season.SHARES
