"""`scripts/bench NAME ...`: see `scripts/bench NAME --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks import cycle, kubernetes, training
from tests.benchmarks.closed_loop import command as closed_loop


def main() -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    names = parser.add_subparsers(dest="name", required=True)
    cost = names.add_parser("cycle", help="what one cycle's own computation costs")
    cost.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    cost.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    memory = names.add_parser("training", help="memory and time of governor train over a large mesh")
    memory.add_argument("--services", type=int, default=10_000, help="number of services (default: 10,000)")
    memory.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    writes = names.add_parser("kubernetes", help="many targets changed at once against a real API server")
    writes.add_argument("--targets", type=int, default=1000, help="number of targets (default: 1,000)")
    writes.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    closed_loop.add_arguments(names.add_parser("closed_loop", help="governed against other arms, on real Envoys"))
    asked = parser.parse_args()
    if asked.name == "cycle":
        return cycle.main(asked.seeds, asked.json)
    if asked.name == "training":
        return training.main(asked.services, asked.json)
    if asked.name == "kubernetes":
        return kubernetes.main(asked.targets, asked.json)
    return closed_loop.main(asked)


if __name__ == "__main__":
    sys.exit(main())
