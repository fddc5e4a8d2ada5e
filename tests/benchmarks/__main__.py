"""`scripts/bench NAME [--seeds N] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("name", choices=["cycle", "closed_loop"])
    parser.add_argument("--seeds", type=int, default=None, help="number of seeds (default: 3, closed_loop 5)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    parser.add_argument("--scenarios", default="", help="closed_loop: only these, separated by commas")
    parser.add_argument("--arms", default="", help="closed_loop: only these, separated by commas")
    parser.add_argument("--lanes", type=int, default=4, help="closed_loop: labs side by side")
    asked = parser.parse_args()
    if asked.name == "cycle":
        from tests.benchmarks import cycle

        return cycle.main(asked.seeds or 3, asked.json)
    from tests.benchmarks.closed_loop import bench

    return bench.main(asked.seeds or 5, asked.json, asked.scenarios, asked.arms, asked.lanes)


if __name__ == "__main__":
    sys.exit(main())
