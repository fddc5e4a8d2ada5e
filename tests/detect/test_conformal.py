"""P-values: validity, borrowing from the group, damping, and false discoveries."""

from __future__ import annotations

import numpy as np
import pytest

from governor.detect import conformal, refractory
from governor.detect.discoveries import believed

ONE = np.zeros(1, np.intp)
ALONE = ((0,),)


def feed(sizes: list[float]) -> list[float]:
    state, answer = conformal.Calibration.empty(1, 1, 1), []
    for size in sizes:
        state, p = conformal.update(state, np.array([[size]]), np.array([True]), ONE, ALONE)
        answer.append(float(p[0]))
    return answer


def test_alone_it_is_the_share_of_values_at_least_as_large() -> None:
    quiet = [0.0] * 100
    assert feed([*quiet, 1.0])[-1] == pytest.approx(1 / 101)
    assert feed([*quiet, 1.0, 1.0])[-1] == pytest.approx(2 / 102)
    assert feed([*quiet, 0.1, 1.0])[-1] == pytest.approx(1 / 102)
    assert feed([*quiet, 1.0, 0.1])[-1] == pytest.approx(2 / 102)


def test_inside_the_envelope_and_missing_are_not_rare() -> None:
    state = conformal.Calibration.empty(1, 2, 1)
    state, p = conformal.update(
        state, np.array([[0.0, 5.0]]), np.array([True, False]), np.zeros(2, np.intp), ALONE
    )
    assert p.tolist() == [1.0, 1.0]
    assert state.seen.tolist() == [1.0, 0.0]
    assert not state.ladder.any()


def test_a_group_makes_a_large_size_rarer_than_one_series_could() -> None:
    rng = np.random.default_rng(1)
    n = 500
    state = conformal.Calibration.empty(1, n, 1)
    for step in range(300):
        sizes = np.where(rng.random(n) < 0.02, rng.exponential(0.05, n), 0.0)
        if step == 299:
            sizes[0] = 9.0
        state, p = conformal.update(state, sizes[None], np.ones(n, bool), np.zeros(n, np.intp), ALONE)
    assert p[0] < 1e-4
    assert p[0] > 1e-7


def test_counts_are_halved_and_rates_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformal, "SERIES_MEMORY", 64)
    state = conformal.Calibration.empty(1, 1, 1)
    for step in range(640):
        state, p = conformal.update(
            state, np.array([[1.0 if step % 4 == 0 else 0.0]]), np.array([True]), ONE, ALONE
        )
    assert state.seen[0] < 64
    assert state.outside[0, 0] / state.seen[0] == pytest.approx(0.25, abs=0.05)
    assert 0.2 < p[0] <= 1


def test_a_restarted_series_has_no_counts_and_its_group_keeps_them() -> None:
    state = conformal.Calibration.empty(1, 1, 1)
    for _ in range(200):
        state, _ = conformal.update(state, np.array([[0.5]]), np.array([True]), ONE, ALONE)
    state = conformal.restart(state, np.array([0]))
    assert state.seen[0] == 0
    assert state.outside[0, 0] == 0
    assert state.ladder[0, 0, 0] > 0


SAID, SEEN = np.array([True]), np.array([1000])


def test_damping_hears_the_first_and_only_what_is_louder() -> None:
    held = np.zeros(1)
    assert refractory.damp(held, np.array([1e-3]))[0] == pytest.approx(1e-3)
    held = refractory.hold(held, np.array([1e-3]), SAID, SEEN)
    assert refractory.damp(held, np.array([1e-3]))[0] > 0.9
    assert refractory.damp(held, np.array([1e-6]))[0] == pytest.approx(1e-3)


def test_what_was_not_said_is_not_held_against_the_series() -> None:
    held = refractory.hold(np.zeros(1), np.array([1e-3]), ~SAID, SEEN)
    assert held[0] == 0


def test_damping_wears_off_and_never_makes_rarer() -> None:
    held = refractory.hold(np.zeros(1), np.array([1e-3]), SAID, SEEN)
    for p in np.random.default_rng(1).random(2000):
        assert refractory.damp(held, np.array([p]))[0] >= p
        held = refractory.hold(held, np.ones(1), SAID, SEEN)
    assert refractory.damp(held, np.array([1e-3]))[0] == pytest.approx(1e-3, rel=0.01)


def test_benjamini_and_hochberg_by_hand() -> None:
    p = np.array([0.9, 0.02, 0.012, 0.5, 0.03])
    # 0.012 > 0.01, but 0.03 <= 0.05 * 3 / 5: the largest that passes carries the smaller ones.
    assert believed(p, 0.05).tolist() == [False, True, True, False, True]
    assert not believed(np.array([0.04, 0.9]), 0.05).any()


def test_what_was_not_measured_is_not_a_test() -> None:
    assert believed(np.array([0.04, np.nan, np.nan]), 0.05).tolist() == [True, False, False]
    assert believed(np.empty(0), 0.05).tolist() == []


def test_the_share_of_false_discoveries_is_held() -> None:
    rng = np.random.default_rng(7)
    shares = []
    for _ in range(400):
        p = rng.random(300)
        p[:30] = p[:30] * 1e-4
        mask = believed(p, 0.1)
        shares.append(mask[30:].sum() / max(mask.sum(), 1))
    assert np.mean(shares) <= 0.1
