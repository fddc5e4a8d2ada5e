"""Request rates of services from a recording of frames, one frame in memory at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from governor.adapters.recording import RecordingEnded, RecordingSource
from governor.domain import FloatArray, MeshFrame
from governor.predict.history import RateHistory
from governor.rows import sum_by
from governor.train.series import Series

STEP_S = 300.0


def is_recording(place: Path) -> bool:
    """Whether `place` looks like what governor record makes: numbered parts, or one Parquet file."""
    if place.is_dir():
        return any(part.stem.isdecimal() for part in place.glob("*.parquet"))
    return place.suffix == ".parquet"


def read_recording(place: Path) -> list[Series]:
    """One series for each service that is called by another, in steps of five minutes.

    Held in memory: a float32 sum and a count for each service and step, whatever the number of frames.
    """
    rates = _Rates()
    source = RecordingSource(place)
    try:
        while True:
            rates.add(source.observe(0.0))
    except RecordingEnded:
        return rates.series()
    finally:
        source.close()


class _Rates:
    """Sums and counts for each step, over services in the order they were first seen."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._slots: dict[int, tuple[FloatArray, FloatArray]] = {}

    def add(self, frame: MeshFrame) -> None:
        index = frame.index
        rate = sum_by(index.edge_callee, frame.edge.rate, len(index.services))
        places = np.array([self._columns.setdefault(name, len(self._columns)) for name in index.services], int)
        slot = int(np.ceil(frame.at / STEP_S))
        none = np.zeros(0, np.float32)
        total, count = (_grown(one, len(self._columns)) for one in self._slots.get(slot, (none, none)))
        known = np.isfinite(rate)
        total[places[known]] += rate[known]
        count[places[known]] += 1.0
        self._slots[slot] = (total, count)

    def series(self) -> list[Series]:
        first, last = min(self._slots), max(self._slots)
        values = np.full((len(self._columns), last - first + 1), np.nan, np.float32)
        for slot, (total, count) in self._slots.items():
            known = count > 0.0
            values[: len(count), slot - first][known] = total[known] / count[known]
        return [
            Series(name, "recording", RateHistory(values[[column]], last * STEP_S, STEP_S))
            for name, column in sorted(self._columns.items())
            if np.isfinite(values[column]).any()
        ]


def _grown(array: FloatArray, size: int) -> FloatArray:
    return np.concatenate([array, np.zeros(size - len(array), np.float32)])
