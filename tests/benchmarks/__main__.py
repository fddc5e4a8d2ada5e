"""`scripts/bench NAME [--seeds N] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks import cycle


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("name", choices=["cycle"])
    parser.add_argument("--seeds", type=int, default=None, help="number of seeds (default: 3)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    asked = parser.parse_args()
    return cycle.main(asked.seeds or 3, asked.json)


if __name__ == "__main__":
    sys.exit(main())
