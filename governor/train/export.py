"""Fitted models as ONNX, checked against scikit-learn row by row before anyone may use them.

Inputs are float32: a tree ensemble of float64 cannot be loaded by ONNX Runtime. The opset is fixed and the graphs are
named for their quantile, so that the same data and seed give the same bytes.
"""

from __future__ import annotations

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from governor.adapters.model_store import GRAPHS, OPSET, TOLERANCE
from governor.adapters.onnx import OnnxQuantiles
from governor.domain import FloatArray
from governor.errors import TrainingError
from governor.predict.features import NAMES
from governor.train.fit import Fitted

FAR_OFF = 0.01
"""Share of rows that float32 thresholds may put into a neighbouring leaf."""


def export(fitted: Fitted, check: FloatArray) -> dict[str, bytes]:
    """File name to ONNX bytes; TrainingError if what they say of the rows `check` is not what scikit-learn says."""
    graphs = {}
    for name, model in zip(GRAPHS, fitted.models, strict=True):
        graph = to_onnx(
            model,
            initial_types=[("rows", FloatTensorType([None, len(NAMES)]))],
            target_opset={"": OPSET, "ai.onnx.ml": 3},
            name=name.removesuffix(".onnx"),
        )
        graphs[name] = graph.SerializeToString(deterministic=True)
    served = OnnxQuantiles(list(graphs.items()), len(NAMES)).predict(check)
    off = np.abs(served - fitted.predict(check)).max(axis=1) > TOLERANCE
    if off.mean() > FAR_OFF:
        raise TrainingError(
            f"the exported graphs differ from the fitted models on {off.mean():.1%} of {len(check)} rows; the old "
            "model stays. Use the versions of scikit-learn and skl2onnx that pyproject.toml asks for"
        )
    return graphs
