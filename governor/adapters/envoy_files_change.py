"""An edit of one discovery file, and what keeps a value from being one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from governor.adapters.envoy_files_store import Document

SAME = 1e-4
"""Rates (relative) and shares (absolute) closer than this are the same: nothing is written."""


@dataclass(frozen=True)
class Edit:
    """One file's new content, and where Envoy tells that it took it."""

    kind: str
    """rtds, rds, eds or ecds."""
    name: str
    """Resource whose subscription confirms it."""
    path: Path
    document: Document
    runtime: Mapping[str, float | None] = field(default_factory=dict)
    """Runtime keys that must read so afterwards; None: gone from the layer."""


def number(value: float) -> float | None:
    """None for NaN."""
    return value if math.isfinite(value) else None


def whole(value: float) -> int | None:
    """The nearest integer, None for NaN."""
    return round(value) if math.isfinite(value) else None


def duration(seconds: float) -> str:
    """Seconds as JSON writes a duration, to the nanosecond."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
