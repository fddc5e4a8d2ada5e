"""VUS-PR of the relation detector on servers with many metrics, one set of options for both sets.

Every detector sees the unlabelled training part first and is scored on the test part. Ours reads both as one
stream, and goes on learning; the others are fitted on the training part. `smoothed` is our mean over ten steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from governor.detect import expected
from tests.benchmarks.evaluate.streams import deviations
from tests.benchmarks.evaluate.vus_rules import vus_pr
from tests.benchmarks.table import Row

Array = NDArray[np.float64]
SETS = {"ASD": ("omi-", 0.38), "SMD": ("machine-", 0.42)}
"""How the files begin, and what is to be reached."""


def read(path: Path) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Training rows, test rows and the test rows' labels; `path` ends in _train.parquet."""
    train = pq.read_table(path)
    test = pq.read_table(path.with_name(path.name.replace("_train", "_test")))
    columns = [
        np.column_stack([t[c].to_numpy() for c in train.column_names]).astype(float) for t in (train, test)
    ]
    return columns[0], columns[1], test["anomaly"].to_numpy().astype(bool)


def standardised(train: Array, test: Array) -> tuple[Array, Array]:
    """Both by the training part's mean and deviation; a constant's deviation counts as 0.01."""
    deviation = train.std(axis=0)
    deviation = np.where(deviation < 1e-4, 0.01, deviation)
    return (train - train.mean(axis=0)) / deviation, (test - train.mean(axis=0)) / deviation


def z_mean(train: Array, test: Array) -> Array:
    """Mean of |z|, at most 10 each."""
    return np.asarray(np.minimum(np.abs(standardised(train, test)[1]), 10.0).mean(axis=1))


def principal_components(train: Array, test: Array) -> Array:
    """Squared error of reconstruction from the components that hold 90 % of the variance."""
    a, b = standardised(train, test)
    b = np.clip(b, -20.0, 20.0)
    _, size, components = np.linalg.svd(a, full_matrices=False)
    kept = int(np.searchsorted(np.cumsum(size**2) / np.sum(size**2), 0.9)) + 1
    return np.asarray(((b - b @ components[:kept].T @ components[:kept]) ** 2).mean(axis=1))


def lag_ridge(train: Array, test: Array, lags: tuple[int, ...] = (1, 2, 3)) -> Array:
    """Mean squared residual of a ridge regression on lags, fitted once."""
    a, b = (np.clip(x, -20.0, 20.0) for x in standardised(train, test))

    def features(x: Array) -> Array:
        lagged = [np.concatenate([np.repeat(x[:1], lag, axis=0), x[:-lag]]) for lag in lags]
        return np.column_stack([*lagged, np.ones(len(x))])

    f = features(a)
    weights = np.linalg.solve(f.T @ f + 10.0 * np.eye(f.shape[1]), f.T @ a)
    usual = np.maximum((a - f @ weights).std(axis=0), 0.01)
    return np.asarray((np.clip((b - features(b) @ weights) / usual, -20.0, 20.0) ** 2).mean(axis=1))


def smoothed(scores: Array) -> Array:
    """Exponential mean over ten steps."""
    answer, mean = np.empty_like(scores), 0.0
    for t, score in enumerate(scores):
        mean += expected.SMOOTHING * (score - mean)
        answer[t] = mean
    return answer


def ours(train: Array, test: Array) -> Array:
    """The stage's own regressions, one stream."""
    return deviations(np.concatenate([train, test]), expected.Options())[len(train) :]


DETECTORS = {
    "z mean": z_mean,
    "PCA": principal_components,
    "PCA, smoothed": lambda a, b: smoothed(principal_components(a, b)),
    "lag ridge": lag_ridge,
    "lag ridge, smoothed": lambda a, b: smoothed(lag_ridge(a, b)),
    "relation": ours,
}


def rows(data: Path) -> list[Row]:
    """Figures on DIR/asd_smd; a row that says so if it is not there."""
    answer = []
    for name, (prefix, target) in SETS.items():
        paths = sorted((data / "asd_smd").glob(f"{prefix}*_train.parquet"))
        if not paths:
            answer.append(Row(f"VUS-PR {name}", (), note=f"no {data / 'asd_smd' / prefix}*_train.parquet"))
            continue
        entities = [read(path) for path in paths]
        for detector, score in DETECTORS.items():
            each = [vus_pr(labels, score(train, test)) for train, test, labels in entities]
            mean = float(np.mean([v for v in each if np.isfinite(v)]))
            note = f"{len(each)} entities, {min(each):.2f} .. {max(each):.2f}"
            goal = target if detector == "relation" else None
            answer.append(Row(f"VUS-PR {name}, {detector}", (mean,), target=goal, note=note))
    return answer
