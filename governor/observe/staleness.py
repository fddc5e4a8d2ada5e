"""When a sample is too old to stand for now."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STALE_STEPS = 3.0
"""Missed samples in a row after which a source counts as silent: one or two are lost in any network."""


def stale_after(step_s: float, timeout_s: float = 0.0) -> float:
    """Age in seconds from which a sample is stale, for one every `step_s` that may take `timeout_s` to come."""
    return STALE_STEPS * step_s + timeout_s


def is_stale(age_s: NDArray[np.float64], step_s: float, timeout_s: float = 0.0) -> NDArray[np.bool_]:
    """Which of the ages are stale; a sample from the future (a skewed clock) is stale when it is as far off."""
    return np.asarray(~(np.abs(age_s) <= stale_after(step_s, timeout_s)), np.bool_)
