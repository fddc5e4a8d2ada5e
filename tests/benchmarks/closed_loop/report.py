"""What is printed and saved: all arms side by side, the targets, and every run's raw figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from tests.benchmarks.closed_loop.arms import Skipped
from tests.benchmarks.closed_loop.lanes import STALL_S, Finished
from tests.benchmarks.closed_loop.runs import Run, Runs
from tests.benchmarks.closed_loop.targets import scored_window
from tests.benchmarks.table import Row

FIGURES: dict[str, Callable[[Run, int, int], float]] = {
    "share of optimum": Run.share,
    "class by class": Run.share_by_class,
    "high in SLO": Run.high_in_slo,
    "success": Run.success,
    "p99 s": Run.p99_s,
}
"""Each over the scored window."""


def arms_table(scenarios: Sequence[Runs], skipped: Sequence[Skipped]) -> Table:
    """Median and least .. most of each figure for each arm; below it the arms that were not run, and why."""
    table = Table(
        title="All arms on the same arrivals, in the scored seconds of each scenario: median (least .. most)",
        title_justify="left",
        caption="\n".join(f"{s.scenario}: {s.arm} was not run, {s.why}" for s in skipped),
        caption_justify="left",
    )
    for column in ("scenario", "arm", *FIGURES, "n"):
        table.add_column(column, justify="left" if column in ("scenario", "arm") else "right")
    for runs in scenarios:
        start, end = scored_window(runs)
        name = f"{runs.scenario.name}, {start}-{end} s"
        for arm in runs.arms:
            own = runs.arm(arm).values()
            cells = [_cell([figure(run, start, end) for run in own]) for figure in FIGURES.values()]
            table.add_row(name, arm, *cells, str(len(own)))
            name = ""
        table.add_section()
    return table


def failures(finished: Sequence[Finished]) -> Row:
    """How many trials have no figures; each is named on standard error with its reason."""
    failed = [done for done in finished if done.outcome is None]
    for done in failed:
        print(f"failed: {done.trial.name}: {done.failure}", file=sys.stderr)
    return Row("trials that failed", (float(len(failed)),), "", 0.0, at_least=False)


def disturbed(finished: Sequence[Finished]) -> Row:
    """In how many of the trials that count the machine stood still for too long all the same."""
    late = [done.outcome.stall_s > STALL_S for done in finished if done.outcome is not None]
    again = sum(done.tries > 1 for done in finished)
    return Row(f"trials with a stall above {STALL_S:g} s", (float(sum(late)),), note=f"{again} were run again")


def details(
    scenarios: Sequence[Runs], finished: Sequence[Finished], skipped: Sequence[Skipped]
) -> dict[str, Any]:
    """What the JSON file holds beside the rows."""
    return {
        "skipped": [asdict(skip) for skip in skipped],
        "failed": [{"trial": d.trial.name, "why": d.failure} for d in finished if d.outcome is None],
        "runs": raw(scenarios),
    }


def raw(scenarios: Sequence[Runs]) -> list[dict[str, Any]]:
    """One mapping a run: its figures and its series, a value a second."""
    return [_raw_run(run, *scored_window(runs)) for runs in scenarios for run in runs.runs]


def _raw_run(run: Run, start: int, end: int) -> dict[str, Any]:
    load = run.load
    return {
        "scenario": run.trial.scenario.name,
        "arm": run.trial.arm,
        "seed": run.seed,
        "data_plane": run.trial.scenario.data_plane.model_dump(mode="json", exclude_defaults=True),
        "scored_seconds": [start, end],
        "figures": {name: figure(run, start, end) for name, figure in FIGURES.items()},
        "offered": {name: values.tolist() for name, values in load.offered.items()},
        "ok": {name: values.tolist() for name, values in load.ok.items()},
        "ok_within_slo": {name: values.tolist() for name, values in load.ok_within_slo.items()},
        "optimum": {
            name: np.round(row, 3).tolist()
            for name, row in zip(run.optimum.class_names, run.optimum.fair, strict=True)
        },
        "writes": [asdict(write) for write in run.outcome.writes],
        "blind_cycles": run.outcome.blind_cycles,
        "cpu_s": dict(run.outcome.cpu_s),
        "stall_s": run.outcome.stall_s,
    }


def _cell(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return ""
    return f"{np.median(known):.3f} ({min(known):.3f} .. {max(known):.3f})"
