"""Sums in other units are the sums of what was standardised in those units from the start."""

from __future__ import annotations

import numpy as np
import pytest

from governor.detect import expected
from governor.detect.refit import Standard, Sums, rebased

SIGNALS, LAGS, DRIVERS = 3, 2, (0,)


def sums(x: np.ndarray, standard: Standard) -> Sums:
    """Of one entity with rows x (T, M)."""
    z = (x - standard.centre[0]) / standard.scale[0]
    lagged = [z[LAGS - lag : -lag] for lag in (1, 2)]
    now = z[LAGS:]
    f = np.column_stack([*lagged, now[:, list(DRIVERS)], np.ones(len(now))])
    return Sums((f.T @ f)[None], (f.T @ now)[None], (now**2).sum(axis=0)[None])


def standard(seed: int) -> Standard:
    rng = np.random.default_rng(seed)
    return Standard(rng.normal(0, 3, (1, SIGNALS)), rng.uniform(0.5, 4, (1, SIGNALS)))


def test_sums_in_other_units_are_those_of_the_same_rows_measured_in_them() -> None:
    x = np.random.default_rng(1).normal(2, 3, (50, SIGNALS))
    old, new = standard(2), standard(3)
    got, wanted = rebased(sums(x, old), old, new, DRIVERS, np.array([48.0])), sums(x, new)
    np.testing.assert_allclose(got.gram, wanted.gram)
    np.testing.assert_allclose(got.moment, wanted.moment)
    # Errors are differences: they know no centre.
    np.testing.assert_allclose(got.error, sums(x, old).error * (old.scale / new.scale) ** 2)


def test_a_signal_that_moved_for_the_first_time_brings_no_past() -> None:
    x = np.random.default_rng(1).normal(2, 3, (50, SIGNALS))
    old, new = standard(2), standard(3)
    before = sums(x, old)
    still = Standard(old.centre, old.scale * [1, 0, 1])
    got = rebased(before, still, new, DRIVERS, np.array([48.0]))
    assert not got.gram[0, 1].any()
    assert not got.moment[0, :, 1].any()
    assert got.error[0, 1] == 48.0


def relation(steps: int, slope: np.ndarray | float) -> np.ndarray:
    """One entity (T, 1, 2): the second signal follows the first by `slope`."""
    rng = np.random.default_rng(4)
    load = rng.normal(100, 20, steps)
    return np.stack([load, slope * load + rng.normal(0, 1, steps)], axis=1)[:, None]


def deviations(x: np.ndarray, longest: int) -> np.ndarray:
    options = expected.Options(lags=(1,), drivers=(0,), every=1, warm_up=64, longest=longest, half_life=500.0)
    state, answer = expected.ExpectedState.empty(1, x.shape[2], options), []
    for row in x:
        state, _ = expected.update(state, row, options)
        answer.append(state.deviation[0])
    return np.array(answer)


def test_a_long_incident_stays_unexpected_until_the_next_refit_and_then_becomes_usual() -> None:
    steps = 4096
    slope = np.where(np.arange(steps) < 600, 1.0, 1.5)
    held = deviations(relation(steps, slope), longest=4096)
    # Refits come at 64, 128, 256, 512, 1024, 2048 steps.
    assert held[620:1020].min() > 20
    assert held[-500:].max() < 10


@pytest.mark.parametrize(("longest", "last"), [(4096, 2048.0), (100, 2028.0)])
def test_a_refit_comes_when_what_was_seen_doubled_and_never_later_than_the_longest_wait(
    longest: int, last: float
) -> None:
    options = expected.Options(lags=(1,), every=1, warm_up=128, longest=longest)
    state, due = expected.ExpectedState.empty(1, 2, options), set()
    for row in relation(2100, 1.0):
        state, _ = expected.update(state, row, options)
        due.add(float(state.due[0]))
    gaps = np.diff(sorted(due))
    assert gaps.max() <= longest
    assert last in due
