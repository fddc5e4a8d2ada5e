"""Models on disk. `models/manifest.json` says which version serves and what its files must be.

    models/manifest.json
    models/<name>/<version>/  model.onnx  golden.json  calibration.json  card.md  and what the card shows

Nothing executable is ever loaded: a graph is ONNX, the rest is JSON. Each file is read once, and the bytes whose
sha256 was checked are the bytes that are used: nothing can be exchanged in between.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from governor.adapters.model_manifest import AGAIN, FORECAST, MANIFEST, entry_of
from governor.adapters.onnx import OnnxQuantiles
from governor.errors import ModelRefused
from governor.predict.features import NAMES
from governor.predict.model import QUANTILES, Prior, TrainedForecast

TOLERANCE = 1e-3
"""In z, between a golden output and what the graph says here: a thousandth of the rate."""
GRAPH, GOLDEN, CALIBRATION, CARD = "model.onnx", "golden.json", "calibration.json", "card.md"
REQUIRED = frozenset((GRAPH, GOLDEN, CALIBRATION, CARD))
Stamp = tuple[int, int, int]


class DirectoryModelStore:
    """ModelStore over a folder; a new version loads beside the cycle, the old one serves until it is checked."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._stamp: Stamp | str | None = None
        self._loading: Future[TrainedForecast] | None = None
        self._serving: TrainedForecast | None = None
        self._reason = ""

    def current(self) -> tuple[TrainedForecast | None, str]:
        """The model that is to serve now, and why it is not the one in the manifest (empty if it is).

        Only the first call waits for a model; a later one costs one look at the manifest's time. None: the
        baseline has to serve. A new version that is refused leaves the old one serving, with the reason.
        """
        first = self._stamp is None
        stamp = self._look()
        if self._loading is None and stamp != self._stamp:
            self._stamp = stamp
            self._loading = self._pool.submit(load_forecast, self._models)
        if self._loading is not None and (first or self._loading.done()):
            self._take(self._loading)
            self._loading = None
        return self._serving, self._reason

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _take(self, loaded: Future[TrainedForecast]) -> None:
        try:
            self._serving, self._reason = loaded.result(), ""
        except ModelRefused as error:
            stays = f"{self._serving.name} stays in use: " if self._serving is not None else ""
            self._reason = f"{stays}{error}"

    def _look(self) -> Stamp | str:
        """What changes with the manifest; the error's words where it cannot be looked at."""
        try:
            found = (self._models / MANIFEST).stat()
        except OSError as error:
            return str(error)
        return found.st_mtime_ns, found.st_size, found.st_ino


def shipped() -> Path:
    """The models that come with the governor."""
    packaged = Path(str(files("governor") / "_models"))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "models"


def load_forecast(models: Path) -> TrainedForecast:
    """The model that the manifest names, all of it checked; ModelRefused names the file and what to do."""
    entry = entry_of(models, FORECAST)
    directory = models / FORECAST / entry.version
    lacking = REQUIRED - entry.files.keys()
    if lacking:
        raise ModelRefused(
            f"{models / MANIFEST}: {FORECAST} lists no {' and no '.join(sorted(lacking))}; {AGAIN}"
        )
    contents = {name: _verified(directory / name, sha256) for name, sha256 in entry.files.items()}
    model = OnnxQuantiles(str(directory / GRAPH), contents[GRAPH], len(NAMES), entry.opset)
    _golden(directory / GOLDEN, contents[GOLDEN], model)
    return TrainedForecast(
        f"{FORECAST}/{entry.version}", model, _prior(directory / CALIBRATION, contents[CALIBRATION])
    )


def forecast_or_reason(models: Path) -> tuple[TrainedForecast | None, str | None]:
    """The model, or None and why the baseline has to serve."""
    try:
        return load_forecast(models), None
    except ModelRefused as error:
        return None, str(error)


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


def _json(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ModelRefused(f"{path}: is not JSON ({error}); {AGAIN}") from error
    if not isinstance(document, dict):
        raise ModelRefused(f"{path}: is no JSON object; {AGAIN}")
    return document


def _golden(path: Path, content: bytes, model: OnnxQuantiles) -> None:
    """Runs the golden rows through the graph; null is NaN."""
    document = _json(path, content)
    try:
        rows, wanted = np.array(document["rows"], np.float32), np.array(document["z"], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"{path}: holds no golden rows and outputs ({error!r}); {AGAIN}") from error
    if not len(rows) or rows.shape != (len(wanted), len(NAMES)) or wanted.shape != (len(rows), len(QUANTILES)):
        raise ModelRefused(
            f"{path}: holds rows of {rows.shape} and outputs of {wanted.shape}, not (n, {len(NAMES)}) and "
            f"(n, {len(QUANTILES)}); {AGAIN}"
        )
    off = float(np.abs(model.predict(rows) - wanted).max())
    # A NaN among them is off, too.
    if not off <= TOLERANCE:
        raise ModelRefused(f"{path}: the graph is off the golden outputs by {off:.2g} in z; {AGAIN}")


def _prior(path: Path, content: bytes) -> Prior:
    document = _json(path, content)
    try:
        horizons = tuple(float(minutes) for minutes in document["horizons_min"])
        scores = np.array(document["scores"], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"{path}: holds no calibration scores ({error!r}); {AGAIN}") from error
    ascending = bool(horizons) and horizons == tuple(sorted(horizons))
    if not ascending or scores.ndim != 3 or scores.shape[:2] != (len(horizons), 2) or scores.shape[2] < 2:
        raise ModelRefused(
            f"{path}: holds scores of {scores.shape} for the horizons {horizons}, not (horizons, 2, 2 or more) "
            f"for ascending ones; {AGAIN}"
        )
    if not np.isfinite(scores).all():
        raise ModelRefused(f"{path}: holds scores that are no finite numbers; {AGAIN}")
    return Prior(horizons, scores)
