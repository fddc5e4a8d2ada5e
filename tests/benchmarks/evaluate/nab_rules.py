"""The scoring rules of the Numenta Anomaly Benchmark, written down from its published description.

Lavin and Ahmad, Evaluating Real-time Anomaly Detection Algorithms, 2015 (arXiv 1510.03336). Each labelled window
that is found earns up to 1, the earlier the more; each missed one costs `missed`; each alarm outside costs up to
`false_alarm`, less just behind a window. A series' first 15 %, 750 points at most, are not scored. 0 is a
detector that never alarms, 100 one that finds every window at its first point and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """What the errors cost; a window that is found is worth 1."""

    false_alarm: float
    missed: float


STANDARD = Profile(0.11, 1.0)
LOW_FALSE_ALARMS = Profile(0.22, 1.0)
LOW_MISSES = Profile(0.11, 2.0)


def probation(points: int) -> int:
    """Number of points at the start of a series that are not scored."""
    return int(min(np.floor(0.15 * points), 750))


def position_value(position: Array) -> Array:
    """Worth of an alarm at a position in units of the window's width: -1 its left edge, 0 its right edge."""
    return np.where(position >= 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


@dataclass(frozen=True, eq=False)
class Labelled:
    """One series' labels, ready to be scored: arrays over its scored points."""

    first: int
    """Points of probation before the scored ones."""
    window: NDArray[np.int64]
    """Window that the point lies in, -1 outside."""
    worth: Array
    """Worth of an alarm at each point, at a false alarm's cost of 1."""

    @property
    def windows(self) -> NDArray[np.int64]:
        """The windows that reach into the scored part."""
        return np.unique(self.window[self.window >= 0])


def labelled(points: int, windows: list[tuple[int, int]]) -> Labelled:
    """Labels of a series; windows are first and last positions, both inside, in order, not overlapping."""
    position = np.full(points, 3.0)
    inside = np.full(points, -1)
    at = np.arange(points)
    for k, (left, right) in enumerate(windows):
        width = right - left + 1
        position[left : right + 1] = -(right - at[left : right + 1] + 1) / width
        inside[left : right + 1] = k
        # A window one point wide has no behind: an alarm after it is false at full cost.
        position[right + 1 :] = (at[right + 1 :] - right) / (width - 1) if width > 1 else 3.0
    worth = position_value(position)
    worth[inside >= 0] /= position_value(np.array([-1.0]))[0]
    first = probation(points)
    return Labelled(first, inside[first:], worth[first:])


def raw_score(labels: Labelled, alarms: NDArray[np.bool_], profile: Profile) -> float:
    """Sum of what the alarms (P,) at the scored points earn and cost."""
    false = profile.false_alarm * labels.worth[alarms & (labels.window < 0)].sum()
    earned = 0.0
    for k in labels.windows:
        found = labels.worth[alarms & (labels.window == k)]
        earned += float(found.max()) if len(found) else -profile.missed
    return float(false) + earned


def nab_score(series: list[Labelled], scores: list[Array], threshold: float, profile: Profile) -> float:
    """The benchmark's figure over all `series` at one threshold; scores (P,) in [0, 1], probation included."""
    windows = sum(len(s.windows) for s in series)
    got = sum(
        raw_score(s, score[s.first :] >= threshold, profile) for s, score in zip(series, scores, strict=True)
    )
    return 100.0 * (got + profile.missed * windows) / (windows * (1.0 + profile.missed))


def best_threshold(series: list[Labelled], scores: list[Array], profile: Profile) -> tuple[float, float]:
    """The threshold with the highest figure over `series`, and that figure.

    One sweep from the highest score down: an alarm outside adds its cost, one inside a window counts only if it
    is worth more than all before it in that window.
    """
    value, gain = [], []
    for labels, score in zip(series, scores, strict=True):
        scored = score[labels.first :]
        order = np.argsort(-scored, kind="stable")
        window, worth = labels.window[order], labels.worth[order]
        change = np.where(window < 0, profile.false_alarm * worth, 0.0)
        for k in labels.windows:
            inside = np.flatnonzero(window == k)
            best = np.maximum.accumulate(np.concatenate(([-profile.missed], worth[inside])))
            change[inside] = np.diff(best)
        value.append(scored[order])
        gain.append(change)
    values, gains = np.concatenate(value), np.concatenate(gain)
    order = np.argsort(-values, kind="stable")
    values, total = values[order], np.cumsum(gains[order])
    last = np.append(values[1:] != values[:-1], True)
    windows = sum(len(s.windows) for s in series)
    ends = np.flatnonzero(last)
    best_end = ends[np.argmax(total[ends])]
    if total[best_end] <= 0.0:
        return np.inf, 0.0
    return float(values[best_end]), float(100.0 * total[best_end] / (windows * (1.0 + profile.missed)))
