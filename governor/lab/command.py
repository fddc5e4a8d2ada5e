"""`governor lab`: one lab in the foreground, until its scenario is over or Ctrl-C."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from governor.errors import DocumentError
from governor.lab.document_files import load_scenario
from governor.lab.documents import ClassLoad, Scenario
from governor.lab.layout import entry_edge
from governor.lab.mesh import MeshLab, Progress
from governor.lab.results import LoadResult
from governor.lab.summary import summary_table
from governor.lab.through import Through
from governor.lab.through.choice import configuration


def run_lab(
    path_or_name: str | Path,
    address: str | None = None,
    directory: Path | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    base_port: int | None = None,
    out: TextIO | None = None,
    through: Through | None = None,
) -> LoadResult:
    """Start a scenario's lab, print its addresses, run its load, print what clients saw.

    `through` names the control plane that configures the Envoys; without it files do.

    Without `directory` a temporary one is used and removed. `seconds` runs shorter or longer than
    the scenario (longer: its last rates go on). Ctrl-C and SIGTERM end it early, with the table of
    what there is. Raises DocumentError and LabError.
    """
    stream = out or sys.stdout
    scenario = prepared(path_or_name, seconds, seed)
    with (
        _directory(directory) as home,
        sigterm_as_interrupt(),
        MeshLab(scenario, home, address, base_port, configuration(through)) as lab,
    ):
        print(describe(lab), file=stream, flush=True)
        result = lab.run(lambda progress: _print_progress(progress, stream), keep_partial=True)
    print(summary_table(result), file=stream, flush=True)
    return result


def prepared(path_or_name: str | Path, seconds: float | None, seed: int | None) -> Scenario:
    """A scenario with another length and seed, where given; DocumentError if there is none or they cannot be."""
    scenario = load_scenario(path_or_name)
    if seconds is not None:
        if not 0 < seconds < math.inf:
            raise DocumentError(f"a run of {seconds:g} s cannot be: give a number of seconds above 0")
        scenario = lasting(scenario, seconds)
    if seed is not None:
        scenario = scenario.model_copy(update={"seed": seed})
    return scenario


def lasting(scenario: Scenario, seconds: float) -> Scenario:
    """The scenario cut to `seconds`, or drawn out to them at the last rate of each class.

    Faults that would begin after the end are left out.
    """
    classes = {name: _lasting(load, seconds) for name, load in scenario.load.classes.items()}
    changes = {
        "duration_s": seconds,
        "warmup_s": min(scenario.warmup_s, seconds),
        "load": scenario.load.model_copy(update={"classes": classes}),
        "faults": tuple(fault for fault in scenario.faults if fault.at_s < seconds),
    }
    return Scenario.model_validate(scenario.model_copy(update=changes).model_dump())


def _lasting(load: ClassLoad, seconds: float) -> ClassLoad:
    missing = seconds - sum(duration for duration, _ in load.schedule)
    if missing <= 0:
        return load
    rest = ((missing, load.schedule[-1][1]),)
    return load.model_copy(update={"schedule": load.schedule + rest})


def describe(lab: MeshLab) -> str:
    """What runs where, as text for a terminal."""
    scenario = lab.scenario
    lines = [f"{scenario.name}: {scenario.description}", f"files     {lab.directory}"]
    lines += [f"admin     {url}  ({node})" for node, url in lab.admin_urls.items()]
    lines.append(f"metrics   {lab.metrics_url}")
    lines += lab.configuration.describe()
    for name in scenario.load.classes:
        port = entry_edge(lab.layout, scenario.api(name)).port
        path = scenario.api(name).name
        lines.append(f"API       http://{lab.address}:{port}/{path}  ({name})")
    for fault in scenario.faults:
        where = fault.service or fault.api or "all"
        lines.append(f"fault     {fault.kind} at {fault.at_s:g} s for {fault.for_s:g} s ({where})")
    return "\n".join(lines)


def _print_progress(progress: Progress, stream: TextIO) -> None:
    parts = [
        f"{name} {sent} sent, {good} in SLO, {bad} not" for name, (sent, good, bad) in progress.classes.items()
    ]
    print(f"{progress.second:4d} s  " + "; ".join(parts), file=stream, flush=True)


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="governor-lab-") as temporary:
        yield Path(temporary)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a lab as Ctrl-C does (only the main thread may set that up)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
