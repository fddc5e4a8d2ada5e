"""Frames of a mesh whose every signal is trusted, from columns by name: for the worlds that tests make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from governor.domain import (
    ApiSignals,
    BackendSignals,
    EdgeSignals,
    MeshFrame,
    MeshIndex,
    RateSamples,
    ServiceSignals,
)

Columns = Mapping[str, NDArray[np.floating]]
FULL_TRUST = {
    f"{table}.{column.name}": 1.0
    for table, signals in (
        ("service", ServiceSignals),
        ("edge", EdgeSignals),
        ("backend", BackendSignals),
        ("api", ApiSignals),
    )
    for column in fields(signals)
}


def trusted_frame(
    at: float,
    window_s: float,
    index: MeshIndex,
    *,
    service: Columns,
    edge: Columns,
    backend: Columns,
    api: Columns,
    samples: RateSamples | None,
    age_s: float = 0.0,
) -> MeshFrame:
    """One window; a column that is not named is NaN, and trusted to be so."""
    sizes = index.sizes
    return MeshFrame(
        at,
        window_s,
        index,
        ServiceSignals.unknown(sizes["service"], **_float32(service)),
        EdgeSignals.unknown(sizes["edge"], **_float32(edge)),
        BackendSignals.unknown(sizes["backend"], **_float32(backend)),
        ApiSignals.unknown(sizes["api"], **_float32(api)),
        age_s=age_s,
        trust=FULL_TRUST,
        samples=samples,
    )


def _float32(columns: Columns) -> dict[str, NDArray[np.float32]]:
    return {name: values.astype(np.float32) for name, values in columns.items()}
