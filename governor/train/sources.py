"""Histories from files: a folder of series, or a recording of frames.

A folder is read like this (see docs/models.md): known sets by their own layout, and besides them any *.parquet or
*.csv directly in it with the columns timestamp and value, and series where it holds more than one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from governor.errors import SourceError, SourceRefused
from governor.predict.history import RateHistory, on_grid
from governor.train.series import Series

STEPS_S = (60.0, 300.0, 3600.0)
"""Grids that models are trained on; samples that come more often are averaged."""
LONGEST_S = 200 * 86_400.0
"""Older samples are left out."""


@dataclass(frozen=True)
class Layout:
    """Where a known set keeps its series."""

    file: str
    time: str = "timestamp"
    value: str = "value"
    series: str | None = None
    only: str = ""
    """Prefix of the series that are request rates."""


LAYOUTS: Mapping[str, Layout] = {
    "worldcup98": Layout("requests_1min.parquet", "period", "count"),
    "nab": Layout("nab.parquet", series="series", only="realTweets/"),
    "m4_hourly": Layout("m4_hourly.parquet", series="series_id"),
}


def read_folder(folder: Path) -> list[Series]:
    """All series in `folder`, by group and name; SourceError if there is none, SourceRefused for a wrong file."""
    found: list[Series] = []
    for group, layout in LAYOUTS.items():
        path = folder / group / layout.file
        if path.is_file():
            found += _series(group, layout, path)
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("*.csv")]):
        names = _schema(path)
        found += _series(path.stem, Layout(path.name, series="series" if "series" in names else None), path)
    if not found:
        raise SourceError(
            f"{folder}: holds no series; it needs *.parquet or *.csv files with the columns timestamp and "
            f"value (and series), a recording, or one of the known sets ({', '.join(LAYOUTS)})"
        )
    return sorted(found, key=lambda one: (one.group, one.name))


def _series(group: str, layout: Layout, path: Path) -> Iterator[Series]:
    table = _table(path, [name for name in (layout.time, layout.value, layout.series) if name is not None])
    at = _seconds(path, table[layout.time])
    try:
        values = table[layout.value].cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise SourceRefused(f"{path}: column {layout.value} is not of numbers ({error})") from error
    if layout.series is None:
        places = {path.stem: np.arange(len(at))}
    else:
        codes = pc.dictionary_encode(table[layout.series].cast(pa.string()).combine_chunks())
        keys = codes.indices.to_numpy(zero_copy_only=False)
        places = {
            str(name): np.flatnonzero(keys == i) for i, name in enumerate(codes.dictionary.to_pylist()) if name
        }
    for name, chosen in places.items():
        if name.startswith(layout.only) and len(chosen) > 1:
            yield Series(f"{group}/{name}", group, gridded(at[chosen], values[chosen]))


def gridded(at: NDArray[np.float64], values: NDArray[np.float64]) -> RateHistory:
    """Samples on the coarsest of STEPS_S that is no coarser than they are, ending with the newest."""
    moments = np.unique(at[np.isfinite(at)])
    apart = float(np.median(np.diff(moments))) if len(moments) > 1 else STEPS_S[0]
    step_s = next((step for step in reversed(STEPS_S) if step <= 1.01 * apart), STEPS_S[0])
    end_at = float(moments[-1])
    steps = int(min(end_at - float(moments[0]), LONGEST_S) / step_s) + 1
    good = np.isfinite(at)
    grid = on_grid(at[good], values[good], end_at=end_at, step_s=step_s, steps=steps)
    return RateHistory(grid[None], end_at, step_s)


def _schema(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return list(_table(path, None).column_names)
    return list(_open(path).schema_arrow.names)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceRefused(f"{path}: is no whole Parquet file ({error})") from error


def _table(path: Path, columns: list[str] | None) -> pa.Table:
    try:
        table = pa.csv.read_csv(path) if path.suffix == ".csv" else _open(path).read()
    except (OSError, pa.ArrowException) as error:
        raise SourceRefused(f"{path}: cannot be read as a table ({error})") from error
    missing = [name for name in columns or () if name not in table.column_names]
    if missing:
        raise SourceRefused(
            f"{path}: has no column {' or '.join(missing)} (it has {', '.join(table.column_names)}); series "
            "are told by timestamp and value, and by series where there is more than one"
        )
    return table if columns is None else table.select(columns)


def _seconds(path: Path, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Seconds since the epoch, of times or of numbers."""
    try:
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        nanoseconds = column.cast(pa.timestamp("us")).cast(pa.int64())
        return np.asarray(nanoseconds.to_numpy(zero_copy_only=False), np.float64) / 1e6
    except pa.ArrowException as error:
        raise SourceRefused(
            f"{path}: column timestamp is neither times nor seconds since the epoch ({error})"
        ) from error
