"""One table for every benchmark: value, interval, target and whether it was met; exit code 1 if one was not."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure over several seeds."""

    what: str
    values: tuple[float, ...]
    unit: str = ""
    target: float | None = None
    at_least: bool = True
    """Whether the target is a minimum; otherwise a maximum."""
    note: str = ""
    every_seed: bool = False
    """Whether each seed must meet the target, not only the median."""

    @property
    def median(self) -> float:
        """Median over the seeds; NaN if there are no values."""
        return float(np.median(self.values)) if self.values else float("nan")

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None where there is none, or no values."""
        if self.target is None or not self.values:
            return None
        judged = self.values if self.every_seed else (self.median,)
        return all(v >= self.target if self.at_least else v <= self.target for v in judged)


def finish(
    title: str, rows: Sequence[Row], json_path: Path | None, details: Mapping[str, Any] | None = None
) -> int:
    """Print the table, write the JSON file (with `details`, if any) if asked for; 1 if a target was missed.

    Figures that are not finite are written as the words nan, inf and -inf, which JSON has no numbers for.
    """
    table = Table(title=title, title_justify="left")
    for column in ("what", "median", "least .. most", "n", "target", "met", "note"):
        table.add_column(column, justify="left" if column in ("what", "note") else "right")
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        target = "" if row.target is None else f"{sign} {_number(row.target)}"
        met = {True: "yes", False: "NO", None: ""}[row.met]
        spread = f"{_number(min(row.values))} .. {_number(max(row.values))}" if row.values else ""
        value = f"{_number(row.median)} {row.unit}".strip() if row.values else "not run"
        table.add_row(row.what, value, spread, str(len(row.values)), target, met, row.note)
    Console(width=160 if not sys.stdout.isatty() else None).print(table)
    if json_path is not None:
        document = {
            "title": title,
            "machine": {"python": platform.python_version(), "system": platform.platform()},
            "rows": [asdict(r) | {"median": r.median, "met": r.met} for r in rows],
            **(details or {}),
        }
        json_path.write_text(json.dumps(_plain(document), indent=None if details else 1) + "\n")
    return int(any(row.met is False for row in rows))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value


def _number(value: float) -> str:
    if not np.isfinite(value):
        return str(value)
    return f"{value:.4g}"
