"""Runs a quantile model with ONNX Runtime, on one thread.

ONNX Runtime sizes its pool from the host and not from the container's share of it, and its threads are slower
than one where cores are shared: hence one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from governor.domain import FloatArray
from governor.errors import ModelRefused
from governor.predict.model import QUANTILES

TREES = "ai.onnx.ml"
"""Domain of the tree ensembles."""
TREES_OPSET = 3


class OnnxQuantiles:
    """A QuantileModel over one serialized graph: (N, F) float32 in, (N, Q) out."""

    def __init__(self, name: str, graph: bytes, features: int, opset: int) -> None:
        """Load `graph`, called `name` in messages; ModelRefused if its columns or opset are others."""
        self._session = _session(name, graph)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or inputs[0].shape[1:] != [features]:
            raise ModelRefused(
                f"{name}: takes {[(i.type, i.shape) for i in inputs]}, this governor gives one float32 array "
                f"with {features} columns; use the governor that trained it, or train again"
            )
        if len(outputs) != 1 or outputs[0].shape[1:] != [len(QUANTILES)]:
            raise ModelRefused(
                f"{name}: gives {[(o.name, o.shape) for o in outputs]}, not one array with {len(QUANTILES)} "
                "quantiles; train again, or restore the file"
            )
        if (found := opset_of(graph)) != opset:
            raise ModelRefused(f"{name}: is of opset {found}, not {opset}; train again, or restore the file")
        self._input = inputs[0].name

    def predict(self, rows: FloatArray) -> FloatArray:
        """(N, Q) for (N, F) rows."""
        return np.asarray(self._session.run(None, {self._input: rows})[0], np.float32)


def opset_of(graph: bytes) -> int | None:
    """Version of the standard operators that a serialized ModelProto imports; None if it imports none.

    Read from the message itself, as the onnx package is not there where models are served. Source: onnx.proto3,
    ModelProto.opset_import = 8, OperatorSetIdProto.domain = 1 and version = 2.
    """
    for number, value in _fields(graph):
        if number == 8 and isinstance(value, bytes):
            parts = dict(_fields(value))
            if parts.get(1, b"") in (b"", b"ai.onnx"):
                found = parts.get(2)
                return found if isinstance(found, int) else None
    return None


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message that ONNX Runtime has read, so that it is whole."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            found.append((number, value))
            continue
        if kind == 2:
            size, at = _varint(message, at)
        else:
            size = 8 if kind == 1 else 4
        found.append((number, message[at : at + size]))
        at += size
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _session(name: str, graph: bytes) -> Any:
    # A tensor kept in another file names it under this key, always, in these very bytes. What it names is not
    # checked by anybody, and ours have no such tensors.
    if b"location" in graph:
        raise ModelRefused(
            f"{name}: refers to data in another file, which no checksum covers; only graphs that are whole are "
            "loaded. Train again, or restore the file"
        )
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
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many types of its own, none of them documented
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelRefused(
            f"{name}: ONNX Runtime cannot read it ({said}); train again, or restore the file"
        ) from error
