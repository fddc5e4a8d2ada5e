"""Flash crowds made up on real histories: what they seldom hold, and what a forecast is needed for most.

    load' = load * factor,   factor = height ^ shape   or   1 + (height - 1) * shape,   each for half of them
    shape = up(t) * (1 - down(t)),   0 before and after, 1 while the crowd stays

Crowds come as a Poisson process; rise, stay, fall and height are log-uniform, in ranges that are wide on
purpose. A model that has seen none takes the first steps of a crowd for noise around yesterday. Source of rise,
stay and fall: Ari, Hong, Miller, Brandt and Long, Managing flash crowds on the Internet, MASCOTS 2003.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor.predict.history import DAY_S, RateHistory

Range = tuple[float, float]


@dataclass(frozen=True)
class Crowds:
    """How often crowds come, and how they look."""

    a_day: float = 1.5
    rise_min: Range = (5.0, 90.0)
    stay_min: Range = (5.0, 180.0)
    fall_min: Range = (10.0, 120.0)
    height: Range = (1.3, 6.0)
    """Times the load without the crowd."""


def with_crowds(history: RateHistory, crowds: Crowds, rng: np.random.Generator) -> RateHistory:
    """The history (1, T) with crowds on it; the same generator state gives the same crowds."""
    steps = history.values.shape[1]
    minute = 60.0 / history.step_s
    factor = np.ones(steps)
    for _ in range(rng.poisson(crowds.a_day * steps * history.step_s / DAY_S)):
        start = rng.uniform(0.0, steps)
        rise, stay, fall = (
            max(1.0, _between(span, rng) * minute) for span in (crowds.rise_min, crowds.stay_min, crowds.fall_min)
        )
        height = _between(crowds.height, rng)
        during = np.arange(int(start), min(steps, int(start + rise + stay + fall) + 1))
        shape = _shape(during - start, rise, stay, fall, smooth=rng.random() < 0.5)
        grown = height**shape if rng.random() < 0.5 else 1.0 + (height - 1.0) * shape
        # Two at once are the larger one: products would soon be beyond any real crowd.
        factor[during] = np.maximum(factor[during], grown)
    return replace(history, values=(history.values * factor).astype(np.float32))


def _between(span: Range, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(span))))


def _shape(
    since: NDArray[np.float64], rise: float, stay: float, fall: float, *, smooth: bool
) -> NDArray[np.float64]:
    """(N,) in 0..1, `since` steps after the crowd's start; smooth: no corners."""
    up, down = np.clip(since / rise, 0.0, 1.0), np.clip((since - rise - stay) / fall, 0.0, 1.0)
    if smooth:
        up, down = (x * x * (3.0 - 2.0 * x) for x in (up, down))
    return np.asarray(up * (1.0 - down))
