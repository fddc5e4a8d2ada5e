"""Runs quantile models with ONNX Runtime, on one thread.

ONNX Runtime sizes its pool from the host and not from the container's share of it, and its threads are slower than one
where cores are shared: hence one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from governor.domain import FloatArray
from governor.errors import ModelRefused


class OnnxQuantiles:
    """A QuantileModel over one serialized ONNX graph for each quantile."""

    def __init__(self, graphs: Sequence[tuple[str, bytes]], features: int) -> None:
        """Load `graphs` (name for messages, bytes), each taking (N, `features`) float32; ModelRefused if one fails."""
        self._sessions = [(name, _session(name, graph, features)) for name, graph in graphs]

    def predict(self, rows: FloatArray) -> FloatArray:
        """(N, Q) for (N, F) rows, quantiles in the order of the graphs."""
        columns = [
            np.asarray(session.run(None, {session.get_inputs()[0].name: rows})[0], np.float32).reshape(-1)
            for _, session in self._sessions
        ]
        return np.stack(columns, axis=1)


def _session(name: str, graph: bytes, features: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelRefused(
            f"{name}: ONNX Runtime is not installed, so no model can be run; "
            "install it with: pip install 'mesh-governor[models]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many types of its own, none of them documented
        raise ModelRefused(
            f"{name}: ONNX Runtime cannot read it ({str(error).splitlines()[0]}); train again, or restore the file"
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or inputs[0].shape[-1] != features:
        raise ModelRefused(
            f"{name}: takes {[(i.type, i.shape) for i in inputs]}, this governor gives one float32 array with "
            f"{features} columns; use the governor that trained it, or train again"
        )
    return session
