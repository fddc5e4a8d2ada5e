"""`scripts/bench closed_loop`: plan the trials, run them in lanes, score them, print and save the tables."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, get_args

from rich.console import Console

from governor.errors import LabError
from governor.lab.bed.daemon import ADDRESS
from governor.lab.document_files import load_scenario
from governor.lab.documents import Scenario
from governor.lab.envoy_process import envoy_version
from governor.lab.through import Through
from tests.benchmarks.closed_loop import smoke
from tests.benchmarks.closed_loop.arms import ARM_NAMES, Skipped, arms_for
from tests.benchmarks.closed_loop.lanes import NETWORK, TRIES, Finished, Lanes
from tests.benchmarks.closed_loop.progress import watching
from tests.benchmarks.closed_loop.report import arms_table, details, disturbed, failures
from tests.benchmarks.closed_loop.runs import Runs, with_optimum
from tests.benchmarks.closed_loop.targets import TARGETS
from tests.benchmarks.closed_loop.trial import Trial
from tests.benchmarks.table import Row, finish

SEEDS = 5
INTERRUPTED = 130
ENVOY_GATEWAY = "envoy-gateway"
WIDTH = 200
"""Columns of the wide table where the output is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may follow the benchmark's name."""
    parser.add_argument("--seeds", type=_positive, default=None, help=f"number of seeds (default: {SEEDS})")
    parser.add_argument(
        "--first-seed",
        type=_positive,
        default=1,
        help="the first of them (default: 1); tune with others than you report",
    )
    parser.add_argument("--json", type=Path, default=None, help="write all figures to this file, too")
    parser.add_argument("--scenario", nargs="+", choices=[*TARGETS], default=None, help="only these scenarios")
    parser.add_argument("--arm", nargs="+", choices=ARM_NAMES, default=None, help="only these arms")
    parser.add_argument("--lanes", type=_positive, default=None, help="labs at once (default: one a core)")
    parser.add_argument(
        "--tries", type=_positive, default=None, help=f"runs of a disturbed trial at most (default: {TRIES})"
    )
    parser.add_argument(
        "--network", default=NETWORK, help=f"labs listen on this with .1, .2, ... after it (default: {NETWORK})"
    )
    parser.add_argument(
        "--through",
        choices=get_args(Through),
        default=None,
        help="configure the Envoys by this (default: by files); envoy-gateway: one lab at a time, on 127.0.0.1",
    )
    parser.add_argument("--short", action="store_true", help="a smoke check of one to two minutes, as in CI")


def main(asked: argparse.Namespace) -> int:
    """Run what was asked; 1 if a target was missed or a trial failed, 2 if it cannot run, 130 if interrupted."""
    try:
        envoy = envoy_version()
        check(asked)
    except (LabError, ValueError) as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    alone = asked.through == ENVOY_GATEWAY
    lanes = 1 if alone else asked.lanes or os.cpu_count() or 1
    network = ADDRESS.rpartition(".")[0] if alone else asked.network
    scenarios = [load_scenario(name) for name in asked.scenario or TARGETS]
    if asked.short:
        scenarios = [smoke.shortened(load_scenario(name)) for name in smoke.SCENARIOS]
    arms = smoke.ARMS if asked.short else asked.arm or ARM_NAMES
    count = asked.seeds or (1 if asked.short else SEEDS)
    trials, skipped = plan(scenarios, arms, range(asked.first_seed, asked.first_seed + count), asked.through)
    finished: list[Finished] = []
    signal.signal(signal.SIGTERM, _interrupt)
    with watching(trials, lanes) as watch:

        def over(done: Finished) -> None:
            finished.append(done)
            watch.finished(done)

        whole = Lanes(lanes, network, asked.tries or (1 if asked.short else TRIES)).run(trials, over)
    every = Runs.by_scenario(scenarios, with_optimum(finished))
    judge = smoke.rows if asked.short else judged
    rows = [row for runs in every for row in judge(runs)]
    title = f"closed_loop: {len(finished)} of {len(trials)} trials, {lanes} at once"
    facts = {"partial": not whole, "lanes": lanes, "cores": os.cpu_count(), "envoy": envoy}
    Console(width=None if sys.stdout.isatty() else WIDTH).print(arms_table(every, skipped))
    code = finish(
        title if whole else f"PARTIAL, interrupted: {title}",
        [*rows, disturbed(finished), failures(finished)],
        asked.json,
        facts | details(every, finished, skipped),
    )
    return code if whole else INTERRUPTED


def check(asked: argparse.Namespace) -> None:
    """ValueError if the options do not go together, or if the figures could not be saved hours later."""
    if asked.short and (asked.scenario or asked.arm):
        raise ValueError("--short has its own scenarios and arms: leave out --scenario and --arm")
    if asked.through == ENVOY_GATEWAY and asked.lanes not in {None, 1}:
        raise ValueError("--through envoy-gateway runs one lab at a time: leave out --lanes")
    if asked.json is not None and not asked.json.resolve().parent.is_dir():
        raise ValueError(f"--json {asked.json}: there is no such directory")


def judged(runs: Runs) -> list[Row]:
    """The rows of the scenario's targets."""
    return TARGETS[runs.scenario.name](runs)


def plan(
    scenarios: Sequence[Scenario], arms: Sequence[str], seeds: range, through: Through | None = None
) -> tuple[list[Trial], list[Skipped]]:
    """All trials, seed by seed, so that the arms of one seed run near each other; and what is left out."""
    trials, skipped = [], []
    for scenario in scenarios:
        skipped += arms_for(scenario, arms, through)[1]
    for seed in seeds:
        for scenario in scenarios:
            for arm, changed in arms_for(scenario, arms, through)[0]:
                trials.append(Trial(changed.model_copy(update={"seed": seed}), arm.name, arm.governed, through))
    return trials, skipped


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return value
