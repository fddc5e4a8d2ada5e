"""`governor demo`: a mesh in trouble, twice at once, and what came of it."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from governor.commands.demo_progress import watching
from governor.commands.output import NOTHING, show, warn
from governor.detect.stage import Options
from governor.lab.command import prepared, sigterm_as_interrupt
from governor.lab.report.data import ReportData, Score
from governor.lab.report.drawing import write_drawing
from governor.lab.report.page import require_writable, write_report
from governor.lab.report.words import headline, percent_or_unknown
from governor.lab.side_by_side import following, run_side_by_side
from governor.learned import LearnedOptions
from governor.policy import load_policies
from governor.turn import CycleOptions

SCENARIO = "demo_mesh"
PRESET = "balanced"
PERIOD_S = 5.0
LEARNED = LearnedOptions(Options(young=30), step_s=PERIOD_S)
"""A demo is short: signals are judged after half a minute, and load is remembered in steps of a cycle."""


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    report: Path
    picture: Path | None
    seconds: float | None
    seed: int | None
    address: str


def show_demo(asked: Asked) -> int:
    """Run the demo, write its report (and picture), print the table; gives the exit code.

    The exit code does not depend on who came through better. Raises GovernorError for what a user can put right.
    """
    for path in filter(None, (asked.report, asked.picture)):
        require_writable(path)
    scenario = prepared(SCENARIO, asked.seconds, asked.seed)
    places = f"ungoverned on {asked.address}, governed on {following(asked.address)}"
    show(Text(f"{scenario.description}\nFor {scenario.duration_s:g} s at the same time: {places}."))
    options = CycleOptions(
        load_policies([PRESET]), enforce=True, period_s=PERIOD_S, window_s=PERIOD_S, learned=LEARNED
    )
    with tempfile.TemporaryDirectory(prefix="governor-demo-") as home, sigterm_as_interrupt():
        with watching(scenario) as on_second:
            both = run_side_by_side(scenario, Path(home), asked.address, options, on_second)
        show("Working out the best possible, second by second.")
        data = both.report()
    write_report(asked.report, data)
    if asked.picture is not None:
        write_drawing(asked.picture, data)
    if both.governed.blind:
        warn(f"{len(both.governed.blind)} cycles saw nothing; the first: {both.governed.blind[0]}")
    show(result(data, asked))
    if busy := _busy():
        show(busy)
    return NOTHING


def _busy() -> str:
    """What to say if others took the processors meanwhile; empty if they did not."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load <= processors:
        return ""
    return (
        f"Note: this machine was busy (load {load:.1f} on {processors} processors), which makes both meshes "
        "late; run the demo again when it is idle."
    )


def result(data: ReportData, asked: Asked) -> Group:
    """A row for each fault, what it comes to, and where the files are."""
    table = Table(title="share of the best possible answers in time", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("what went wrong")
    table.add_column("")
    for name in ("meanwhile", "after it", "recovered"):
        table.add_column(name, justify="right", no_wrap=True)
    for finding in data.findings:
        window = f"{finding.fault.start_s:g}-{finding.fault.end_s:g} s"
        table.add_row(Text(finding.fault.label), "ungoverned", *_cells(finding.ungoverned))
        table.add_row(window, "governed", *_cells(finding.governed), end_section=True)
    lines = [headline(data), f"report: {asked.report}"]
    if asked.picture is not None:
        lines.append(f"picture: {asked.picture}")
    return Group(*([table] if data.findings else []), Text("\n".join(lines)))


def _cells(score: Score) -> tuple[str, str, str]:
    return percent_or_unknown(score.share), percent_or_unknown(score.share_after), _recovery(score.recovery_s)


def _recovery(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    if math.isinf(seconds):
        return "no"
    return "at once" if seconds == 0 else f"after {seconds:.0f} s"
