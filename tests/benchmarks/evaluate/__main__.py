"""`scripts/evaluate --data DIR [--part NAME ...]`: scores the parts on the data they find; see docs/models.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.evaluate import detection_cost, forecast, nab, root_cause, vus
from tests.benchmarks.table import Row, finish

PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "forecast": forecast.rows,
    "nab": nab.rows,
    "vus": vus.rows,
    "root_cause": root_cause.rows,
    "detection_cost": detection_cost.rows,
}


def main() -> int:
    """Run the parts asked for; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="scripts/evaluate")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the data sets, laid out as docs/models.md says"
    )
    parser.add_argument(
        "--part", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="only these (default: all)"
    )
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        parser.error(f"--data {asked.data}: no such folder")
    rows = [row for name in asked.part for row in PARTS[name](asked.data)]
    return finish("Learned parts", rows, asked.json)


if __name__ == "__main__":
    sys.exit(main())
