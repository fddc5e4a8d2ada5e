"""What a source may hand over by mistake, and what then happens; gaps, clocks and units are in test_stage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governor.detect import expected
from governor.detect.stage import DetectState, Evidence, Options, detect
from governor.detect.tables import Table

ROWS = tuple(f"s{i}" for i in range(100))
WARM = 400


def table(values: np.ndarray, rows: tuple[str, ...] = ROWS, relations: expected.Options | None = None) -> Table:
    return Table("t", rows, ("x", "y"), values.astype(np.float32), relations)


def noise(steps: int = WARM, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (steps, 2, len(ROWS)))


def run(values: np.ndarray, times: list[float] | None = None) -> list[Evidence]:
    state, answer = DetectState(), []
    relations = expected.Options(lags=(1,), warm_up=64, every=4)
    for step, row in enumerate(values):
        at = 15.0 * step if times is None else times[step]
        state, evidence = detect(state, at, (table(row, relations=relations),), Options())
        answer.append(evidence)
    return answer


def test_negative_values_are_values_like_others() -> None:
    x = noise()
    x[-1, 0, 3] = -30.0
    (anomaly,) = (a for a in run(x)[-1].anomalies if a.signal == "x")
    assert (anomaly.subject, anomaly.value) == ("s3", -30.0)
    assert anomaly.excess < -20


@pytest.mark.parametrize("size", [np.inf, -np.inf, 3e38, -3e38])
def test_values_that_cannot_be_change_nothing_then_or_later(size: float) -> None:
    x, gap = noise(), noise()
    x[200, 0, 3], gap[200, 0, 3] = size, np.nan
    wrong, right = run(x), run(gap)
    assert not wrong[200].anomalies
    np.testing.assert_array_equal(wrong[-1].p["t"][:2], right[-1].p["t"][:2])


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf])
def test_a_look_without_a_time_is_refused(at: float) -> None:
    with pytest.raises(ValueError, match=r"the time of a look is .*; it has to be seconds since the epoch"):
        detect(DetectState(), at, (table(noise(1)[0]),), Options())


def test_a_row_that_is_there_twice_is_refused_by_name_at_once_and_later() -> None:
    twice = (*ROWS[:-1], ROWS[0])
    message = "table t: row s0 is there more than once"
    with pytest.raises(ValueError, match=message):
        detect(DetectState(), 0.0, (table(noise(1)[0], twice),), Options())
    state, _ = detect(DetectState(), 0.0, (table(noise(1)[0]),), Options())
    with pytest.raises(ValueError, match=message):
        detect(state, 15.0, (table(noise(1)[0], twice),), Options())


def test_two_tables_of_one_name_are_refused() -> None:
    one = table(noise(1)[0])
    with pytest.raises(ValueError, match="tables t, t: each needs a name of its own"):
        detect(DetectState(), 0.0, (one, one), Options())


def test_a_series_that_was_silent_for_long_is_judged_by_what_it_did_before() -> None:
    x = noise(WARM + 200)
    x[200:500, 0, 3] = np.nan
    x[-1, 0, 3] = 30.0
    looks = run(x)
    assert not any(a.subject == "s3" for e in looks[200:500] for a in e.anomalies)
    assert [(a.subject, a.signal) for a in looks[-1].anomalies if a.signal == "x"] == [("s3", "x")]


def test_a_stuck_counter_is_not_abnormal_and_its_first_move_is_within_what_was() -> None:
    x = noise(WARM + 100)
    x[300:450, 0, 3] = x[299, 0, 3]
    assert not any(a.subject == "s3" and a.view == "value" for e in run(x) for a in e.anomalies)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_whatever_comes_the_evidence_is_probabilities_and_the_state_stays_finite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state, at = DetectState(), 0.0
    relations = expected.Options(lags=(1, 2), drivers=(0,), warm_up=8, every=2)
    ugly = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-45, 1e30, -1e30])
    for _ in range(60):
        at += float(rng.choice([0.0, 15.0, -3600.0, 86_400.0]))
        rows = tuple(ROWS[i] for i in rng.permutation(6)[: rng.integers(1, 7)])
        values = np.where(rng.random((2, len(rows))) < 0.3, rng.choice(ugly, (2, len(rows))), 1.0)
        state, evidence = detect(state, at, (table(values, rows, relations),), Options())
        p = evidence.p["t"]
        assert ((p > 0) & (p <= 1)).all()
        assert np.isfinite(state.tables["t"].level.means).all()
