"""Fitted models as one ONNX graph, checked against scikit-learn row by row before anyone may use it.

    rows (N, F) -> one tree ensemble for each quantile -> joined columns (N, Q)

Inputs are float32: a tree ensemble of float64 cannot be loaded by ONNX Runtime. The opset is fixed, and all names
in the graph are made here, so that the same data and seed give the same bytes.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from onnx import TensorProto, checker, compose, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from governor.adapters.model_manifest import OPSET
from governor.adapters.model_store import TOLERANCE
from governor.adapters.onnx import TREES, TREES_OPSET, OnnxQuantiles
from governor.domain import FloatArray
from governor.errors import TrainingError
from governor.predict.features import NAMES
from governor.predict.model import QUANTILES
from governor.train.fit import Fitted

FAR_OFF = 0.01
"""Share of rows that float32 thresholds may put into a neighbouring leaf."""
INPUT, OUTPUT = "rows", "quantiles"
IR_VERSION = 8
"""Of the file's format: the oldest that opset 18 fits in, so that an older ONNX Runtime reads it, too."""


def export(fitted: Fitted, check: FloatArray) -> bytes:
    """The serialized graph; TrainingError if what it says of the rows `check` is not what scikit-learn says."""
    graph = joined([_single(model) for model in fitted.models])
    served = OnnxQuantiles("the exported graph", graph, len(NAMES), OPSET).predict(check)
    off = np.abs(served - fitted.predict(check)).max(axis=1) > TOLERANCE
    if off.mean() > FAR_OFF:
        raise TrainingError(
            f"the exported graph differs from the fitted models on {off.mean():.1%} of {len(check)} rows; the "
            "old model stays. Use the versions of scikit-learn and skl2onnx that pyproject.toml asks for"
        )
    return graph


def _single(model: Any) -> Any:
    with warnings.catch_warnings():
        # skl2onnx hands numpy's own booleans to protobuf, which says that it will not take them one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        return to_onnx(
            model,
            initial_types=[(INPUT, FloatTensorType([None, len(NAMES)]))],
            target_opset={"": OPSET, TREES: TREES_OPSET},
        )


def joined(models: list[Any]) -> bytes:
    """One graph of several that take the same rows and give one column each, in their order."""
    nodes, constants, columns = [], [], []
    for quantile, model in zip(QUANTILES, models, strict=True):
        own = compose.add_prefix(model, f"q{round(100 * quantile)}_").graph
        for node in own.node:
            node.input[:] = [INPUT if name == own.input[0].name else name for name in node.input]
        nodes += own.node
        constants += own.initializer
        columns.append(own.output[0].name)
    nodes.append(helper.make_node("Concat", columns, [OUTPUT], name="join", axis=1))
    graph = helper.make_graph(
        nodes,
        "forecast",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, len(NAMES)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(QUANTILES)])],
        constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(TREES, TREES_OPSET)],
        ir_version=IR_VERSION,
        producer_name="mesh-governor",
    )
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
