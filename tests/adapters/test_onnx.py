"""Running graphs: what is right, and everything that is refused before it could serve."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from governor.adapters.model_manifest import OPSET
from governor.adapters.onnx import OnnxQuantiles, opset_of
from governor.errors import ModelRefused, TrainingError
from governor.predict.features import NAMES
from governor.train.export import export, joined
from governor.train.fit import Fitted
from tests.adapters.small_model import fitted, graph

WIDTH = len(NAMES)


def constant(columns: int, outputs: int, dtype: int = TensorProto.FLOAT, opset: int = OPSET) -> Any:
    """rows (N, columns) @ weights -> (N, outputs)."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    weights = numpy_helper.from_array(np.ones((columns, outputs), kind), "weights")
    made = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["out"])],
        "constant",
        [helper.make_tensor_value_info("rows", dtype, [None, columns])],
        [helper.make_tensor_value_info("out", dtype, [None, outputs])],
        [weights],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def load(content: bytes) -> OnnxQuantiles:
    return OnnxQuantiles("model.onnx", content, WIDTH, OPSET)


def test_the_joined_graph_says_what_the_fitted_models_say_also_of_unknown_values_and_of_one_row() -> None:
    models, rows = fitted()
    served = load(graph())
    assert np.isnan(rows).any()
    np.testing.assert_allclose(served.predict(rows), models.predict(rows), atol=1e-5)
    np.testing.assert_array_equal(served.predict(rows[[3]]), served.predict(rows)[[3]])
    nothing = np.full((1, WIDTH), np.nan, np.float32)
    assert np.isfinite(served.predict(nothing)).all()


def test_the_same_models_give_the_same_bytes_of_the_fixed_opset() -> None:
    assert export(*fitted()) == graph()
    model = onnx.load_from_string(graph())
    assert {one.domain: one.version for one in model.opset_import} == {"": 18, "ai.onnx.ml": 3}
    assert opset_of(graph()) == 18
    assert [len(model.graph.input), len(model.graph.output)] == [1, 1]


def test_a_graph_that_does_not_say_what_the_models_say_is_not_exported() -> None:
    models, rows = fitted()

    class Elsewhere(Fitted):
        def predict(self, rows: Any) -> Any:
            return super().predict(rows) + np.float32(0.01)

    with pytest.raises(TrainingError, match=r"differs from the fitted models on 100.0% of 200 rows"):
        export(Elsewhere(models.models), rows)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: constant(WIDTH - 1, 3), f"this governor gives one float32 array with {WIDTH} columns"),
        (lambda: constant(WIDTH, 3, TensorProto.DOUBLE), "tensor\\(double\\)"),
        (lambda: constant(WIDTH, 2), "not one array with 3 quantiles"),
        (lambda: constant(WIDTH, 3, opset=17), "is of opset 17, not 18"),
    ],
)
def test_a_graph_for_another_governor_is_refused(make: Callable[[], Any], said: str) -> None:
    load(constant(WIDTH, 3).SerializeToString())
    with pytest.raises(ModelRefused, match=said):
        load(make().SerializeToString())


def test_data_outside_the_file_is_refused_though_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = constant(WIDTH, 3)
    external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, tmp_path / "model.onnx")
    assert (tmp_path / "weights.bin").stat().st_size > 0
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelRefused, match="refers to data in another file"):
        load((tmp_path / "model.onnx").read_bytes())


def test_a_truncated_graph_is_refused_at_every_length() -> None:
    whole = graph()
    for length in range(0, len(whole) - 1, len(whole) // 25):
        with pytest.raises(ModelRefused, match=r"model.onnx: "):
            load(whole[:length])


def test_one_graph_for_each_quantile_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        joined([])


def test_without_onnx_runtime_the_words_are_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelRefused, match=r"pip install 'mesh-governor\[models\]'"):
        load(graph())
