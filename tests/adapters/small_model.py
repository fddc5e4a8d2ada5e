"""A model of a few trees with all its files, made in a blink."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from governor.adapters.model_manifest import OPSET, Trained
from governor.adapters.model_store import CALIBRATION, CARD, GOLDEN, GRAPH
from governor.adapters.onnx import OnnxQuantiles
from governor.predict.features import NAMES
from governor.predict.model import QUANTILES
from governor.train.export import export
from governor.train.fit import Fitted

TRAINED = Trained(source="made up", begin="2026-01-01", end="2026-01-02", series=3, rows=500, seed=0)


@cache
def fitted(seed: int = 0) -> tuple[Fitted, Any]:
    """Models and the (200, F) rows they were fitted on."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((200, len(NAMES))).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    outcome = np.nan_to_num(rows[:, 0]) + 0.1 * rng.standard_normal(200)
    models = [
        HistGradientBoostingRegressor(
            loss="quantile", quantile=q, max_iter=5, min_samples_leaf=5, early_stopping=False, random_state=seed
        ).fit(rows, outcome)
        for q in QUANTILES
    ]
    return Fitted(tuple(models)), rows


@cache
def graph(seed: int = 0) -> bytes:
    """The serialized graph."""
    return export(*fitted(seed))


def files(seed: int = 0) -> dict[str, bytes]:
    """All files of one version."""
    rows = fitted(seed)[1][:8]
    said = OnnxQuantiles(GRAPH, graph(seed), len(NAMES), OPSET).predict(rows)
    plain = [[None if np.isnan(one) else float(one) for one in row] for row in rows]
    return {
        GRAPH: graph(seed),
        GOLDEN: json.dumps({"rows": plain, "z": said.tolist()}).encode(),
        CALIBRATION: json.dumps({"horizons_min": [5.0, 60.0], "scores": [[[0.0, 0.1]] * 2] * 2}).encode(),
        CARD: b"# A small model\n",
    }
