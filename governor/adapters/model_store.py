"""Models on disk: `models/manifest.json` says which version of a model serves and what its files must be.

    models/manifest.json
    models/<name>/<version>/  q10.onnx q50.onnx q90.onnx  golden.json  calibration.json  card.md

Nothing executable is ever loaded: graphs are ONNX, the rest is JSON. Loading checks each file's sha256, the opset, the
hash of the features that this governor makes, and runs the golden rows through the graphs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from governor.adapters.onnx import OnnxQuantiles
from governor.errors import ModelRefused
from governor.predict.features import NAMES, feature_hash
from governor.predict.model import QUANTILES, Prior, TrainedForecast

SCHEMA = 1
OPSET = 18
"""Of the standard operators; tree ensembles are of ai.onnx.ml 3."""
TOLERANCE = 1e-3
"""In z, between a golden output and what the graph says here: a thousandth of the rate."""
FORECAST = "forecast"
GRAPHS = tuple(f"q{round(100 * q)}.onnx" for q in QUANTILES)
GOLDEN, CALIBRATION, CARD, MANIFEST = "golden.json", "calibration.json", "card.md", "manifest.json"
FILES = (*GRAPHS, GOLDEN, CALIBRATION, CARD)
AGAIN = "train again with governor train, or restore the file from where it was released"


def shipped() -> Path:
    """The models that come with the governor."""
    packaged = Path(str(files("governor") / "_models"))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "models"


def read_manifest(models: Path) -> dict[str, Any]:
    """The manifest of the store in directory `models`; ModelRefused if it is missing or wrong."""
    path = models / MANIFEST
    if not path.is_file():
        raise ModelRefused(f"{path}: there is no manifest here; name the directory that governor train wrote to")
    document = _json(path)
    if not isinstance(document.get("models"), dict) or not isinstance(document.get("schema"), int):
        raise ModelRefused(f"{path}: is no manifest of models (schema and models are needed); {AGAIN}")
    if document["schema"] > SCHEMA:
        raise ModelRefused(f"{path}: was written by a newer governor (schema {document['schema']}); use that one")
    return document


def load_forecast(models: Path) -> TrainedForecast:
    """The forecast model that the manifest names, all of it checked; ModelRefused names the file and what to do."""
    entry = read_manifest(models)["models"].get(FORECAST)
    if not isinstance(entry, dict):
        raise ModelRefused(f"{models / MANIFEST}: names no model {FORECAST}; train one with governor train")
    directory = models / FORECAST / _text(models, entry, "version")
    contents = {name: _verified(directory / name, _wanted(models, entry, name)) for name in FILES}
    _fits(models / MANIFEST, entry)
    graphs = [(str(directory / name), contents[name]) for name in GRAPHS]
    model = OnnxQuantiles(graphs, len(NAMES))
    _golden(directory / GOLDEN, contents[GOLDEN], model)
    prior = _prior(directory / CALIBRATION, contents[CALIBRATION])
    return TrainedForecast(f"{FORECAST}/{directory.name}", model, prior)


def forecast_or_reason(models: Path) -> tuple[TrainedForecast | None, str | None]:
    """The model, or None and why the baseline has to serve."""
    try:
        return load_forecast(models), None
    except ModelRefused as error:
        return None, str(error)


def _fits(manifest: Path, entry: Mapping[str, Any]) -> None:
    if entry.get("features") != feature_hash():
        raise ModelRefused(
            f"{manifest}: the model was trained on features {entry.get('features')}, this governor makes "
            f"{feature_hash()}; train again with this governor, or use the one that trained it"
        )
    if entry.get("opset") != OPSET:
        raise ModelRefused(f"{manifest}: the model is of opset {entry.get('opset')}, not {OPSET}; {AGAIN}")


def _text(models: Path, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value or Path(value).name != value:
        raise ModelRefused(f"{models / MANIFEST}: {FORECAST}.{key} is {value!r}, not a plain name; {AGAIN}")
    return value


def _wanted(models: Path, entry: Mapping[str, Any], name: str) -> str:
    listed = entry.get("files")
    if not isinstance(listed, dict) or not isinstance(listed.get(name), str):
        raise ModelRefused(f"{models / MANIFEST}: {FORECAST} lists no sha256 of {name}; {AGAIN}")
    return str(listed[name])


def _verified(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelRefused(
            f"{path}: is not what the manifest says (sha256 {found[:12]}, not {sha256[:12]}); {AGAIN}"
        )
    return content


def _json(path: Path, content: bytes | None = None) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes() if content is None else content)
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{path}: is no JSON that can be read ({error}); {AGAIN}") from error
    if not isinstance(document, dict):
        raise ModelRefused(f"{path}: is no JSON object; {AGAIN}")
    return document


def _golden(path: Path, content: bytes, model: OnnxQuantiles) -> None:
    document = _json(path, content)
    try:
        rows = np.array(document["rows"], np.float32)
        wanted = np.array(document["z"], np.float32)
        assert rows.shape == (len(wanted), len(NAMES))
        assert wanted.shape == (len(rows), len(QUANTILES))
        assert len(rows) > 0
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise ModelRefused(f"{path}: holds no golden rows of {len(NAMES)} features; {AGAIN}") from error
    off = float(np.abs(model.predict(rows) - wanted).max())
    if not off <= TOLERANCE:
        raise ModelRefused(f"{path}: the graphs are off the golden outputs by {off:.2g} in z; {AGAIN}")


def _prior(path: Path, content: bytes) -> Prior:
    document = _json(path, content)
    try:
        horizons = tuple(float(minutes) for minutes in document["horizons_min"])
        scores = np.array(document["scores"], np.float32)
        assert scores.shape[:2] == (len(horizons), 2)
        assert scores.shape[2] > 1
        assert np.isfinite(scores).all()
        assert horizons == tuple(sorted(horizons))
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise ModelRefused(f"{path}: holds no calibration scores; {AGAIN}") from error
    return Prior(horizons, scores)
