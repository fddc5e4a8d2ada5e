"""Histories to learn from, and how their time is divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from governor.predict.history import RateHistory


@dataclass(frozen=True, eq=False)
class Series:
    """One service's history."""

    name: str
    group: str
    """Where it comes from; groups weigh alike, whatever their sizes."""
    history: RateHistory
    """(1, T)."""


@dataclass(frozen=True)
class Split:
    """Shares of each series' time, in order, so that nothing is ever learned from the future."""

    fit: float = 0.68
    calibrate: float = 0.75
    """End of the part that the bands are calibrated on; the rest is held back."""
    score: float = 0.75
    """Start of the part of the held-back time that is scored; what lies before it only warms calibration up."""
    until: float = 1.0
    """End of the part of the held-back time that is scored."""
    held_out: float = 0.25
    """Share of the series of each group that take no part in fit and calibration at all."""


def held_out(series: Sequence[Series], split: Split) -> frozenset[str]:
    """Names of the series that are only ever scored: every n-th of a group by name, never its only one."""
    names: set[str] = set()
    if split.held_out <= 0.0:
        return frozenset()
    every = max(2, round(1.0 / split.held_out))
    for group in sorted({one.group for one in series}):
        members = sorted(one.name for one in series if one.group == group)
        names.update(members[every - 1 :: every])
    return frozenset(names)
