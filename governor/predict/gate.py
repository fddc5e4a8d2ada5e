"""Which services the model serves, which the baseline, and why."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from governor.predict.calibration import Calibration
from governor.predict.history import DAY_S, RateHistory, newest_known

ENOUGH_S = 3600.0
"""History that the model's level and lags need, but see KNOWN: new services wait for half an hour."""
KNOWN = 0.5
"""Share of that hour which must be known."""
JUDGED_AFTER = 24
"""Outcomes at every horizon before anything is held against the model."""
COVERAGE = (0.55, 0.995)
"""Monitored coverage of the 80 % band outside of which the model has lost a service."""


class Gate(IntEnum):
    """Why a service is served by what serves it."""

    MODEL = 0
    NO_MODEL = 1
    COVERAGE = 2
    TOO_SHORT = 3
    NO_LOAD = 4
    STALE = 5

    @property
    def sentence(self) -> str:
        """For explain and readiness."""
        return _SENTENCES[self]


_SENTENCES = {
    Gate.MODEL: "served by the model",
    Gate.NO_MODEL: "baseline: no trained model could be loaded",
    Gate.NO_LOAD: "baseline: no load was seen in the last day",
    Gate.TOO_SHORT: "baseline: less than half of the last hour is known, the model needs that much",
    Gate.STALE: "no forecast: nothing is known of the last 15 minutes",
    Gate.COVERAGE: "baseline: the model's band no longer holds what it says, the load has drifted",
}


def drifted(calibration: Calibration) -> NDArray[np.bool_]:
    """(S,) whether the band of a service no longer holds what it says; who errs less the mixture weighs."""
    coverage = calibration.coverage.mean(axis=1)
    judged = (calibration.outcomes >= JUDGED_AFTER).all(axis=1)
    return np.asarray(judged & ((coverage < COVERAGE[0]) | (coverage > COVERAGE[1])))


def gates(history: RateHistory, calibration: Calibration | None) -> NDArray[np.int8]:
    """(S,) Gate values, the last reason that applies; `calibration` is None where there is no model."""
    values = history.newest(history.steps(DAY_S))
    hour = history.steps(ENOUGH_S)
    gate = np.full(len(values), Gate.MODEL, np.int8)
    if calibration is None:
        gate[:] = Gate.NO_MODEL
    else:
        gate[drifted(calibration)] = Gate.COVERAGE
    gate[np.isfinite(values[:, -hour:]).sum(axis=1) < KNOWN * hour] = Gate.TOO_SHORT
    gate[~(values > 0.0).any(axis=1)] = Gate.NO_LOAD
    gate[np.isnan(newest_known(history))] = Gate.STALE
    return gate
