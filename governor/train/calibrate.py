"""Conformalized quantile regression: how far outcomes lay beyond the raw band, on time that was not fitted.

Kept per bucket of horizons as SCORES evenly spaced quantiles, which is what a new service's calibration starts
with. Source: Romano, Patterson and Candes, Conformalized Quantile Regression, 2019.
"""

from __future__ import annotations

import numpy as np

from governor.errors import TrainingError
from governor.predict.model import Prior, QuantileModel, raw_quantiles
from governor.train.dataset import Rows

BUCKETS_MIN = (5.0, 15.0, 30.0, 60.0)
"""Upper ends; each horizon that the governor asks for has a bucket of its own, 1 and 5 minutes share one."""
SCORES = 100
FEWEST = 50
"""Outcomes in a bucket; one with fewer takes the scores of all horizons."""


def prior_of(model: QuantileModel, data: Rows) -> Prior:
    """Scores of `data`; TrainingError if there are next to none."""
    if len(data.z) < FEWEST:
        raise TrainingError(
            f"only {len(data.z)} outcomes to calibrate on, {FEWEST} are needed; come back with more history"
        )
    raw = raw_quantiles(model, data.rows)
    beyond = np.stack([raw[:, 0] - data.z, data.z - raw[:, 2]])
    levels = (np.arange(SCORES) + 0.5) / SCORES
    everywhere = np.quantile(beyond, levels, axis=1).T
    bucket = np.minimum(np.searchsorted(BUCKETS_MIN, data.horizons_min), len(BUCKETS_MIN) - 1)
    scores = [
        np.quantile(beyond[:, bucket == b], levels, axis=1).T if (bucket == b).sum() >= FEWEST else everywhere
        for b in range(len(BUCKETS_MIN))
    ]
    return Prior(BUCKETS_MIN, np.stack(scores).astype(np.float32))
