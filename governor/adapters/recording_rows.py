"""One frame as one row of Parquet, and back, value for value: NaN stays NaN, and absent stays absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from governor.domain import (
    FloatArray,
    Gap,
    GapReason,
    IntArray,
    MeshFrame,
    MeshIndex,
    RateSamples,
)
from governor.errors import SourceRefused
from governor.observe.frame import KINDS

VERSION = 1
_MARK = b"governor.recording"
"""Key in the metadata of the schema; its value is the version."""
_NAMES, _PLACES, _FLOATS = pa.list_(pa.string()), pa.list_(pa.int32()), pa.list_(pa.float32())
_GAPS = pa.list_(pa.struct([(name, pa.string()) for name in ("signal", "subject", "reason", "detail")]))
_NEEDED: Mapping[str, pa.DataType] = {
    "at": pa.float64(),
    "window_s": pa.float64(),
    "age_s": pa.float64(),
    "trust": pa.map_(pa.string(), pa.float64()),
    "gaps": _GAPS,
    "index.services": _NAMES,
    "index.edges": _NAMES,
    "index.edge_caller": _PLACES,
    "index.edge_callee": _PLACES,
    "index.backends": _NAMES,
    "index.backend_edge": _PLACES,
    "index.apis": _NAMES,
    "index.api_edge": _PLACES,
    # Null where the frame has no samples; the arrays row by row.
    "samples.step_s": pa.float64(),
    "samples.rows": pa.int32(),
    "samples.api_admitted": _FLOATS,
    "samples.service_arrivals": _FLOATS,
}
_SIGNALS = {f"{table}.{f.name}": _FLOATS for table, signals in KINDS.items() for f in fields(signals)}
_COLUMNS = {**_NEEDED, **_SIGNALS}
SCHEMA = pa.schema(_COLUMNS).with_metadata({_MARK: str(VERSION)})


def check(part: Path, schema: pa.Schema) -> None:
    """SourceRefused if `schema` of the file `part` is not that of a recording this governor can read."""
    mark = (schema.metadata or {}).get(_MARK)
    if mark is None:
        raise SourceRefused(f"{part}: is a Parquet file, but no recording of frames")
    if not mark.isdigit() or int(mark) > VERSION:
        raise SourceRefused(
            f"{part}: was recorded by a newer governor (recording version {mark.decode(errors='replace')}, this "
            f"one knows {VERSION}); use that governor"
        )
    found = {field.name: field.type for field in schema}
    for name, kind in _COLUMNS.items():
        # A signal that an older governor did not know is absent, and absent is NaN.
        if name not in found and name in _SIGNALS:
            continue
        if found.get(name) != kind:
            raise SourceRefused(
                f"{part}: column {name} is {found.get(name, 'not there')}, a recording has {kind}"
            )


def to_table(frame: MeshFrame) -> pa.Table:
    """One row."""
    index, samples = frame.index, frame.samples
    one = {
        "at": frame.at,
        "window_s": frame.window_s,
        "age_s": frame.age_s,
        "trust": list(frame.trust.items()),
        "gaps": [
            {"signal": g.signal, "subject": g.subject, "reason": g.reason, "detail": g.detail} for g in frame.gaps
        ],
        "samples.step_s": samples and samples.step_s,
        "samples.rows": samples and len(samples.api_admitted),
        "samples.api_admitted": samples and np.ravel(samples.api_admitted),
        "samples.service_arrivals": samples and np.ravel(samples.service_arrivals),
    }
    one |= {name: getattr(index, name.removeprefix("index.")) for name in _NEEDED if name.startswith("index.")}
    one |= {name: getattr(getattr(frame, name.split(".")[0]), name.split(".")[1]) for name in _SIGNALS}
    return pa.table([_column(one[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _column(value: Any, kind: pa.DataType) -> pa.Array:
    """One row."""
    if isinstance(value, np.ndarray):
        # Not by Python objects: an edge signal of a large mesh has 100,000 values.
        values = pa.array(value.astype(kind.value_type.to_pandas_dtype(), copy=False))
        return pa.ListArray.from_arrays(pa.array([0, len(value)], pa.int32()), values)
    return pa.array([list(value) if isinstance(value, tuple) else value], kind)


class _Row:
    """One frame's columns, read with checks; a wrong one is SourceRefused with part, frame and column."""

    def __init__(self, part: Path, number: int, batch: pa.RecordBatch) -> None:
        self._where = f"{part}: frame {number}"
        self._batch = batch

    def has(self, name: str) -> bool:
        return name in self._batch.schema.names and self._batch.column(name).null_count == 0

    def value(self, name: str) -> Any:
        if not self.has(name):
            raise self.wrong(name, "is empty")
        return self._batch.column(name)[0].as_py()

    def number(self, name: str, least: float) -> float:
        value = float(self.value(name))
        if not np.isfinite(value) or value < least:
            raise self.wrong(name, f"is {value}, and must be finite and not below {least:g}")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        values = self.value(name)
        if None in values:
            raise self.wrong(name, "lacks a name")
        return tuple(values)

    def array(self, name: str, size: int) -> FloatArray:
        return np.asarray(self._flat(name, size), np.float32)

    def places(self, name: str, size: int, within: int) -> IntArray:
        values = np.asarray(self._flat(name, size), np.int32)
        if size and (values.min() < 0 or values.max() >= within):
            raise self.wrong(name, f"points outside of its {within} names")
        return values

    def wrong(self, name: str, what: str) -> SourceRefused:
        return SourceRefused(
            f"{self._where}: {name} {what}; the recording is damaged or was made by another program"
        )

    def _flat(self, name: str, size: int) -> Any:
        if not self.has(name):
            raise self.wrong(name, "is empty")
        values = self._batch.column(name)[0].values
        if len(values) != size or values.null_count:
            raise self.wrong(name, f"has {len(values) - values.null_count} values, and must have {size}")
        # A copy: Arrow's memory is read-only and goes with the batch.
        return values.to_numpy(zero_copy_only=False).copy()


def to_frame(part: Path, number: int, batch: pa.RecordBatch) -> MeshFrame:
    """The frame in the first row of `batch`; SourceRefused names `part` and `number` if its columns disagree."""
    row = _Row(part, number, batch)
    index = _index(row)
    sizes = index.sizes
    known: dict[str, dict[str, FloatArray]] = {table: {} for table in KINDS}
    for column in _SIGNALS:
        table, signal = column.split(".")
        if column in batch.schema.names:
            known[table][signal] = row.array(column, sizes[table])
    try:
        gaps = tuple(Gap(**{**gap, "reason": GapReason(gap["reason"])}) for gap in row.value("gaps"))
    except (TypeError, ValueError) as error:
        raise row.wrong("gaps", f"has an entry that is none ({error})") from error
    tables: dict[str, Any] = {
        table: signals.unknown(sizes[table], **known[table]) for table, signals in KINDS.items()
    }
    return MeshFrame(
        row.number("at", -np.inf),
        row.number("window_s", 0.0),
        index,
        **tables,
        age_s=float(row.value("age_s")),
        trust=dict(row.value("trust")),
        gaps=gaps,
        samples=_samples(row, sizes["api"], sizes["service"]),
    )


def _index(row: _Row) -> MeshIndex:
    services, edges = row.names("index.services"), row.names("index.edges")
    backends, apis = row.names("index.backends"), row.names("index.apis")
    return MeshIndex(
        services,
        edges,
        row.places("index.edge_caller", len(edges), len(services)),
        row.places("index.edge_callee", len(edges), len(services)),
        backends,
        row.places("index.backend_edge", len(backends), len(edges)),
        apis,
        row.places("index.api_edge", len(apis), len(edges)),
    )


def _samples(row: _Row, apis: int, services: int) -> RateSamples | None:
    if not row.has("samples.rows"):
        return None
    rows = int(row.number("samples.rows", 0))
    return RateSamples(
        row.array("samples.api_admitted", rows * apis).reshape(rows, apis),
        row.array("samples.service_arrivals", rows * services).reshape(rows, services),
        row.number("samples.step_s", 0.0),
    )
