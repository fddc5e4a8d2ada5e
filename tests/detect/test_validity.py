"""What is promised over the mesh, on series without any anomaly: how often something is said all the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from governor.detect.stage import DetectState, Options, detect
from governor.detect.tables import Table

SERIES, LOOKS, YOUNG = 600, 600, 100


def autocorrelated(rng: np.random.Generator, memory: float) -> np.ndarray:
    """x_t = memory x_(t-1) + noise, after it has settled."""
    return np.asarray(lfilter([1], [1, -memory], rng.normal(0, 1, (LOOKS + 500, SERIES)), axis=0))[500:]


def seasonal(rng: np.random.Generator, period: int, in_step: bool) -> np.ndarray:
    phase = 0.0 if in_step else rng.random(SERIES)
    wave = np.sin(2 * np.pi * (np.arange(LOOKS)[:, None] / period + phase))
    return np.asarray(10 + 3 * wave + rng.normal(0, 0.5, (LOOKS, SERIES)))


KINDS = {
    "independent": lambda rng: rng.normal(0, 1, (LOOKS, SERIES)),
    "heavy tails": lambda rng: rng.standard_t(3, (LOOKS, SERIES)),
    "autocorrelated": lambda rng: autocorrelated(rng, 0.9),
    "nearly a random walk": lambda rng: autocorrelated(rng, 0.98),
    "seasonal": lambda rng: seasonal(rng, 96, in_step=False),
    "seasonal, all in step": lambda rng: seasonal(rng, 96, in_step=True),
    "less than two periods, all in step": lambda rng: seasonal(rng, 400, in_step=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_without_any_anomaly_few_looks_find_one(kind: str) -> None:
    """Nothing is abnormal, so a look that finds anything is all false: at most 5 % of looks may."""
    x = KINDS[kind](np.random.default_rng(11)).astype(np.float32)
    rows, state, wrong = tuple(map(str, range(SERIES))), DetectState(), 0
    for step, values in enumerate(x):
        at = 15.0 * step
        state, evidence = detect(state, at, (Table("t", rows, ("x",), values[None]),), Options())
        wrong += any(a.since == at for a in evidence.anomalies)
    assert wrong <= 0.05 * (LOOKS - YOUNG)


def test_the_promise_is_not_kept_by_silence() -> None:
    x = KINDS["autocorrelated"](np.random.default_rng(11)).astype(np.float32)
    x[-1, :5] += 40.0
    rows, state = tuple(map(str, range(SERIES))), DetectState()
    for step, values in enumerate(x):
        state, evidence = detect(state, 15.0 * step, (Table("t", rows, ("x",), values[None]),), Options())
    assert {a.subject for a in evidence.anomalies} >= {"0", "1", "2", "3", "4"}
