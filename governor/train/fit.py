"""One gradient-boosted model for each quantile, with one thread.

HistGradientBoostingRegressor(loss="quantile") on the change of z from its anchor, each row weighted by the load
of its last hour over that of its last day: an error counts in requests, and most requests come when there are
many. Small trees with a third of the features at each split and a hundred rows in a leaf: with few services to
learn from, deeper trees learn their names; sixty of them, because each is paid for at every forecast. One
thread, because more are slower where cores are shared, and because two threads give other bytes than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from governor.domain import FloatArray
from governor.predict.features import NAMES
from governor.predict.model import QUANTILES, anchor
from governor.train.dataset import Rows, Tick

WEIGHTS = (0.1, 10.0)
"""So that neither a silent night is ignored nor one burst is all there is to learn."""


@dataclass(frozen=True)
class Shape:
    """Size of the models; the defaults were chosen on data before the part that the documents judge by."""

    trees: int = 60
    leaves: int = 15
    rows_in_leaf: int = 100
    rate: float = 0.15
    share_of_features: float = 0.3
    bins: int = 255
    """Values of a feature that a split can tell apart at most."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A QuantileModel before export."""

    models: tuple[Any, ...]

    def predict(self, rows: FloatArray) -> FloatArray:
        """(N, Q) quantiles of z less its anchor."""
        return np.stack([model.predict(rows) for model in self.models], axis=1).astype(np.float32)


def weights(rows: FloatArray) -> FloatArray:
    """(N,) level over the mean of the last day, within WEIGHTS; one where nothing is known of the day."""
    day = rows[:, NAMES.index("mean_1440_min")]
    return np.clip(np.exp(-np.where(np.isfinite(day), day, np.float32(0.0))), *WEIGHTS)


def fit(data: Rows, seed: int, shape: Shape | None = None, tick: Tick | None = None) -> Fitted:
    """Fit QUANTILES on `data`; the same data and seed give the same models."""
    fits = (delayed(_fit_one)(data, seed, shape or Shape(), quantile) for quantile in QUANTILES)
    models = []
    # Where they run is for the caller to say, by joblib.parallel_config.
    for done, model in enumerate(Parallel(return_as="generator")(fits)):
        models.append(model)
        if tick is not None:
            tick(done + 1, len(QUANTILES))
    return Fitted(tuple(models))


def _fit_one(data: Rows, seed: int, size: Shape, quantile: float) -> Any:
    model = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=quantile,
        max_iter=size.trees,
        max_leaf_nodes=size.leaves,
        min_samples_leaf=size.rows_in_leaf,
        learning_rate=size.rate,
        max_bins=size.bins,
        max_features=size.share_of_features,
        early_stopping=False,
        random_state=seed,
    )
    # A short history knows no last week, and scikit-learn fails on a column without any value: a constant is
    # never split on.
    rows = np.where(np.isnan(data.rows).all(axis=0), np.float32(0.0), data.rows)
    with threadpool_limits(1):
        return model.fit(rows, data.z - anchor(data.rows), sample_weight=weights(data.rows))
