"""The Numenta Anomaly Benchmark's figure for level and season, and for what is simpler.

The threshold of the figure that counts is never chosen on the series it is scored on: it comes from every other
series (in alphabetical order) and is scored on the rest, then the other way round. `windowed Gaussian` is the
benchmark's own baseline, with which the rules were checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import erfc

from tests.benchmarks.evaluate.nab_rules import (
    LOW_FALSE_ALARMS,
    LOW_MISSES,
    STANDARD,
    Labelled,
    Profile,
    best_threshold,
    labelled,
    nab_score,
)
from tests.benchmarks.evaluate.streams import scores
from tests.benchmarks.table import Row

Array = NDArray[np.float64]
TARGET = 65.0
OURS = "level and season"


@dataclass(frozen=True, eq=False)
class Series:
    """One labelled series."""

    name: str
    times: Array
    """Seconds since the epoch."""
    values: Array
    labels: Labelled


def read(folder: Path) -> list[Series]:
    """The series of `folder`, by name: nab.parquet (series, timestamp, value) and combined_windows.json."""
    table = pq.read_table(folder / "nab.parquet", columns=["series", "timestamp", "value"])
    names = np.array(table["series"].to_pylist())
    time, value = table["timestamp"].to_numpy(), table["value"].to_numpy()
    windows = json.loads((folder / "combined_windows.json").read_text())
    return [_series(name, time[names == name], value[names == name], windows[name]) for name in np.unique(names)]


def _series(name: str, time: NDArray[np.datetime64], values: Array, windows: list[list[str]]) -> Series:
    inside = [
        (
            int(np.flatnonzero(time == np.datetime64(first))[0]),
            int(np.flatnonzero(time == np.datetime64(last))[0]),
        )
        for first, last in windows
    ]
    seconds = time.astype("datetime64[s]").astype(np.float64)
    return Series(str(name), seconds, values, labelled(len(values), inside))


def windowed_gaussian(values: Array, window: int = 6400, step: int = 100) -> Array:
    """The benchmark's own baseline: 1 - tail probability under a Gaussian over the last `window` values."""
    scores = np.zeros(len(values))
    for i in range(1, len(values)):
        start = max(i - window, 0) // step * step
        past = values[start : min(i, start + window)]
        z = abs(values[i] - past.mean()) / (past.std() or 1e-6)
        scores[i] = 1.0 - 0.5 * erfc(z / np.sqrt(2.0))
    return scores


def from_the_others(series: list[Series], scores: list[Array], profile: Profile) -> float:
    """The figure with each half's threshold chosen on the other half, halves weighted by their windows."""
    total, windows = 0.0, 0
    for half in (0, 1):
        ours, others = series[half::2], series[1 - half :: 2]
        threshold, _ = best_threshold([s.labels for s in others], scores[1 - half :: 2], profile)
        labels = [s.labels for s in ours]
        count = sum(len(one.windows) for one in labels)
        total += nab_score(labels, scores[half::2], threshold, profile) * count
        windows += count
    return total / windows


def rows(data: Path) -> list[Row]:
    """Figures on DIR/nab; a row that says so if it is not there."""
    folder = data / "nab"
    if not folder.is_dir():
        return [Row("NAB", (), note=f"no folder {folder}")]
    series = read(folder)
    values = [s.values for s in series]
    labels = [s.labels for s in series]
    detectors = {
        "windowed Gaussian": [windowed_gaussian(v) for v in values],
        "level, value only": scores(values, families=((0,),)),
        "level": scores(values),
        OURS: scores(values, [s.times for s in series]),
    }
    answer = []
    for name, found in detectors.items():
        own = best_threshold(labels, found, STANDARD)[1]
        target = TARGET if name == OURS else None
        note = f"{len(series)} series"
        answer += [
            Row(
                f"NAB standard, {name}, threshold from other series",
                (from_the_others(series, found, STANDARD),),
                target=target,
                note=note,
            ),
            Row(f"NAB standard, {name}, threshold on the same series", (own,), note=note),
        ]
    for title, profile in (("low FP", LOW_FALSE_ALARMS), ("low FN", LOW_MISSES)):
        figure = from_the_others(series, detectors[OURS], profile)
        answer.append(Row(f"NAB {title}, {OURS}, threshold from other series", (figure,)))
    return answer
