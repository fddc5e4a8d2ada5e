"""`scripts/bench closed_loop`: plan the trials, run them in lanes, score them, print and save the tables."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from governor.errors import LabError
from governor.lab.document_files import load_scenario
from governor.lab.documents import Scenario
from governor.lab.envoy_process import envoy_version
from tests.benchmarks.closed_loop import smoke
from tests.benchmarks.closed_loop.arms import ARM_NAMES, Skipped, arms_for
from tests.benchmarks.closed_loop.lanes import NETWORK, Finished, Lanes
from tests.benchmarks.closed_loop.progress import watching
from tests.benchmarks.closed_loop.report import arms_table, raw
from tests.benchmarks.closed_loop.runs import Runs, with_optimum
from tests.benchmarks.closed_loop.targets import TARGETS
from tests.benchmarks.closed_loop.trial import Trial
from tests.benchmarks.table import Row, finish

SEEDS = 5
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may follow the benchmark's name."""
    parser.add_argument("--seeds", type=_positive, default=None, help=f"number of seeds (default: {SEEDS})")
    parser.add_argument("--json", type=Path, default=None, help="write all figures to this file, too")
    parser.add_argument("--scenario", nargs="+", choices=[*TARGETS], default=None, help="only these scenarios")
    parser.add_argument("--arm", nargs="+", choices=ARM_NAMES, default=None, help="only these arms")
    parser.add_argument("--lanes", type=_positive, default=None, help="labs at once (default: one a core)")
    parser.add_argument(
        "--network", default=NETWORK, help=f"labs listen on this with .1, .2, ... after it (default: {NETWORK})"
    )
    parser.add_argument("--short", action="store_true", help="a smoke check of one to two minutes, as in CI")


def main(asked: argparse.Namespace) -> int:
    """Run what was asked; 1 if a target was missed or a trial failed, 130 if interrupted."""
    lanes = asked.lanes or os.cpu_count() or 1
    names = asked.scenario or (smoke.SCENARIOS if asked.short else TARGETS)
    arms = asked.arm or (smoke.ARMS if asked.short else ARM_NAMES)
    scenarios = [load_scenario(name) for name in names]
    if asked.short:
        scenarios = [smoke.shortened(scenario) for scenario in scenarios]
    trials, skipped = plan(scenarios, arms, asked.seeds or (1 if asked.short else SEEDS))
    try:
        envoy = envoy_version()
    except LabError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    finished: list[Finished] = []
    signal.signal(signal.SIGTERM, _interrupt)
    with watching(trials, lanes) as watch:

        def over(done: Finished) -> None:
            finished.append(done)
            watch.finished(done)

        whole = Lanes(lanes, asked.network).run(trials, over)
    every = Runs.by_scenario(scenarios, with_optimum(finished))
    judge = smoke.rows if asked.short else judged
    rows = [row for runs in every for row in judge(runs)]
    failed = [done for done in finished if done.outcome is None]
    rows.append(Row("trials that failed", (float(len(failed)),), "", 0.0, at_least=False))
    title = f"closed_loop: {len(finished)} of {len(trials)} trials, {lanes} at once"
    if not whole:
        title = f"PARTIAL, interrupted: {title}"
    Console(width=None if sys.stdout.isatty() else 200).print(arms_table(every, skipped))
    details = {
        "partial": not whole,
        "lanes": lanes,
        "cores": os.cpu_count(),
        "envoy": envoy,
        "skipped": [asdict(skip) for skip in skipped],
        "failed": [{"trial": done.trial.name, "why": done.failure} for done in failed],
        "runs": raw(every),
    }
    code = finish(title, rows, asked.json, details)
    for done in failed:
        print(f"failed: {done.trial.name}: {done.failure}", file=sys.stderr)
    return code if whole else INTERRUPTED


def judged(runs: Runs) -> list[Row]:
    """The rows of the scenario's targets."""
    return TARGETS[runs.scenario.name](runs)


def plan(scenarios: Sequence[Scenario], arms: Sequence[str], seeds: int) -> tuple[list[Trial], list[Skipped]]:
    """All trials, seed by seed, so that the arms of one seed run near each other; and what is left out."""
    trials, skipped = [], []
    for scenario in scenarios:
        skipped += arms_for(scenario, arms)[1]
    for seed in range(1, seeds + 1):
        for scenario in scenarios:
            for arm, changed in arms_for(scenario, arms)[0]:
                trials.append(Trial(changed.model_copy(update={"seed": seed}), arm.name, arm.governed))
    return trials, skipped


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return value
