"""Series from a Prometheus: what its history reader gives, without the time before Prometheus knew anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from governor.predict.history import DAY_S, RateHistory
from governor.train.series import Series

GROUP = "prometheus"
SHORT_S = 3.0 * DAY_S
"""A history no longer than this is asked for minute by minute, a longer one in steps of five."""


def step_of(since_s: float) -> float:
    """Seconds in a step of a history of `since_s` seconds."""
    return 60.0 if since_s <= SHORT_S else 300.0


def series_of(names: Sequence[str], history: RateHistory) -> list[Series]:
    """One series for each service; they share the memory of `history`."""
    known = np.isfinite(history.values).any(axis=0)
    values = history.values[:, int(np.argmax(known)) :]
    return [
        Series(name, GROUP, RateHistory(values[row : row + 1], history.end_at, history.step_s))
        for row, name in enumerate(names)
    ]
