"""What the forecast asks of a trained model, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from governor.domain import FloatArray
from governor.predict.features import NAMES

QUANTILES = (0.1, 0.5, 0.9)
"""What models are trained for: the 80 % band and its middle."""


_ANCHOR = NAMES.index("mean_15_min")


class QuantileModel(Protocol):
    """Rows of features in, quantiles of the change out."""

    def predict(self, rows: FloatArray) -> FloatArray:
        """(N, Q) quantiles QUANTILES of z less `anchor`, for (N, F) rows in the order of `features.NAMES`."""


def anchor(rows: FloatArray) -> NDArray[np.float64]:
    """(N,) what the model predicts the change from: z of the last 15 minutes; zero, the level's z, where unknown.

    Trees answer in steps and never beyond what they saw. With the change as their target, the step is one of the
    change: the newest load itself goes through whole.
    """
    newest = rows[:, _ANCHOR].astype(np.float64)
    return np.where(np.isfinite(newest), newest, 0.0)


def raw_quantiles(model: QuantileModel, rows: FloatArray) -> NDArray[np.float64]:
    """(N, Q) quantiles in z before any calibration, never decreasing."""
    return np.sort(model.predict(rows).astype(np.float64) + anchor(rows)[:, None], axis=1)


@dataclass(frozen=True, eq=False)
class Prior:
    """How far outside the raw band the outcomes of the calibration part lay: what a service starts with."""

    horizons_min: tuple[float, ...]
    """Upper ends of the buckets of horizons, ascending."""
    scores: FloatArray
    """(B, 2, N) below the lower and above the upper quantile in z, ascending in N; negative: within the band."""

    def bucket(self, horizons_min: Sequence[float]) -> NDArray[np.intp]:
        """(H,) which bucket each horizon falls into; the last one takes all beyond."""
        places = np.searchsorted(np.asarray(self.horizons_min), np.asarray(horizons_min))
        return np.minimum(places, len(self.horizons_min) - 1)


@dataclass(frozen=True)
class TrainedForecast:
    """A model with the calibration that belongs to it."""

    name: str
    """For people and the ledger: name and version."""
    model: QuantileModel
    prior: Prior
