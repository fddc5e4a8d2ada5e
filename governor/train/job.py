"""The retraining job, from histories to a model in the store or a reason why not.

    series -> rows -> fit -> calibrate -> export (parity) -> contest -> card -> promote

Nothing is written before the last step, so that an interrupted job leaves the store as it was. The same series
and seed give the same bytes, wherever the fits run: joblib spreads them and the series over the processes of this
machine or the workers of a Dask cluster, each fit on one thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from governor.adapters.model_manifest import OPSET, Trained
from governor.adapters.model_store import CALIBRATION, CARD, GOLDEN, GRAPH, forecast_or_reason
from governor.adapters.onnx import OnnxQuantiles
from governor.domain import FloatArray
from governor.errors import TrainingError
from governor.predict.features import NAMES, feature_hash
from governor.predict.history import DAY_S
from governor.predict.model import Prior, TrainedForecast
from governor.train.backend import Backend, LocalBackend
from governor.train.calibrate import prior_of
from governor.train.card import Facts, card
from governor.train.contest import Contest, contest
from governor.train.crowds import Crowds
from governor.train.dataset import CALIBRATION_ROWS, CROWDED, ROWS, Rows, draw, joined
from governor.train.export import export
from governor.train.fit import Shape, fit
from governor.train.plots import plots
from governor.train.promote import promote, version_of
from governor.train.series import Series, Split, held_out
from governor.train.windows import windows_of

SHORTEST_S = 2.0 * DAY_S
"""History that the longest series must have: a day to learn from, a yesterday to look back on."""
GOLDEN_ROWS = 64
LIBRARIES = ("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx")
Progress = Callable[[str, int, int], None]
"""Called with the step's name, what is done of it and what is to be done."""


@dataclass(frozen=True)
class Job:
    """What to train with."""

    seed: int = 0
    split: Split = field(default_factory=Split)
    rows: int = ROWS
    shape: Shape = field(default_factory=Shape)
    source: str = "the series given"
    """Where the series come from, and under what licence if others may have the model: for card and manifest."""
    backend: Backend = field(default_factory=LocalBackend)


@dataclass(frozen=True, eq=False)
class Made:
    """A fitted, calibrated and exported model that is not in the store yet."""

    trained: TrainedForecast
    contents: dict[str, bytes]
    """All files but the card and its plots."""
    data: Rows
    """What was fitted on, without the rows of made-up crowds."""
    later: Rows
    """What was calibrated on."""
    unseen: frozenset[str]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a job."""

    version: str
    contest: Contest
    promoted: bool
    no_champion: str | None
    """Why there was no model in use to compare with; None if there was."""
    card: str


def train(series: Sequence[Series], models: Path, job: Job, progress: Progress) -> Outcome:
    """Train on `series` and promote into the store `models` if the result wins.

    TrainingError if there is too little history, or the export is wrong.
    """
    enough(series)
    with job.backend.running():
        made = make(series, job, progress)
        champion, reason = forecast_or_reason(models)
        windows = windows_of(series, made.unseen, job.split, _ticks(progress, "score"))
        result = contest(windows, made.trained, champion)
    trained = Trained(
        source=job.source,
        begin=_day(made.data.at[0]),
        end=_day(made.data.at[1]),
        series=len(series) - len(made.unseen),
        rows=len(made.data.z),
        seed=job.seed,
    )
    libraries = {name: version(name) for name in LIBRARIES}
    text = card(Facts(trained, len(made.unseen), libraries, champion is not None), result, job.split, job.shape)
    contents = {**made.contents, **plots(windows, result.said), CARD: text.encode()}
    if result.won:
        promote(models, contents, trained, libraries)
    return Outcome(version_of(contents), result, result.won, reason, text)


def make(series: Sequence[Series], job: Job, progress: Progress) -> Made:
    """Fit, calibrate and export on the first part of the time of all series that are not held out."""
    unseen = held_out(series, job.split)
    learned = [one for one in series if one.name not in unseen]
    split = job.split
    data = draw(learned, (0.0, split.fit), job.rows, job.seed, _ticks(progress, "rows"))
    if not len(data.z):
        raise TrainingError(
            "no part of the history can be learned from: it has gaps throughout, or no load at all"
        )
    later = draw(
        learned,
        (split.fit, split.calibrate),
        CALIBRATION_ROWS,
        job.seed + 1,
        _ticks(progress, "calibration rows"),
    )
    crowded = draw(
        learned,
        (0.0, split.fit),
        int(CROWDED * job.rows),
        job.seed + 2,
        _ticks(progress, "rows of crowds"),
        Crowds(),
    )
    fitted = fit(joined([data, crowded]), job.seed, job.shape, _ticks(progress, "fit"))
    prior = prior_of(fitted, later)
    graph = export(fitted, later.rows)
    model = OnnxQuantiles(GRAPH, graph, len(NAMES), OPSET)
    contents = {
        GRAPH: graph,
        GOLDEN: _golden(model, later.rows),
        CALIBRATION: _calibration(prior),
    }
    return Made(TrainedForecast("challenger", model, prior), contents, data, later, unseen)


def enough(series: Sequence[Series]) -> None:
    """TrainingError that says how much is missing and when to come back, if the longest series is too short."""
    longest = max(series, key=lambda one: one.history.values.shape[1] * one.history.step_s)
    span = longest.history.values.shape[1] * longest.history.step_s
    if span >= SHORTEST_S:
        return
    missing = SHORTEST_S - span
    back = datetime.fromtimestamp(longest.history.end_at + missing, UTC)
    raise TrainingError(
        f"too little history: the longest series, {longest.name}, spans {_span(span)}, {_span(SHORTEST_S)} are "
        f"needed; {_span(missing)} are missing. Come back at {back:%Y-%m-%d %H:%M} UTC; until then the "
        "baseline serves"
    )


def _golden(model: OnnxQuantiles, rows: FloatArray) -> bytes:
    chosen = rows[np.linspace(0, len(rows) - 1, min(GOLDEN_ROWS, len(rows))).astype(int)]
    # Also what no history says anything about.
    chosen = np.concatenate([chosen, np.full((1, rows.shape[1]), np.nan, np.float32)])
    document = {"features": feature_hash(), "rows": _plain(chosen), "z": _plain(model.predict(chosen))}
    return _json(document)


def _calibration(prior: Prior) -> bytes:
    return _json({"horizons_min": list(prior.horizons_min), "scores": _plain(prior.scores)})


def _plain(values: FloatArray) -> Any:
    """Nested lists that JSON can hold: NaN is null, the rest has the digits that float32 has."""
    if values.ndim > 1:
        return [_plain(one) for one in values]
    return [None if np.isnan(one) else float(f"{one:.9g}") for one in values]


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, sort_keys=True, allow_nan=False) + "\n").encode()


def _ticks(progress: Progress, step: str) -> Callable[[int, int], None]:
    return lambda done, of: progress(step, done, of)


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"


def _span(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60.0), 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes or not hours else "")
    return " ".join(part for part in parts if part)
