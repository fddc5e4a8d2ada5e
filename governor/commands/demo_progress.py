"""What one sees while the demo runs: bars on a terminal, a line a second elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from governor.lab.documents import Scenario
from governor.lab.mesh import Progress as Second
from governor.lab.report.build import fault_bands
from governor.lab.report.data import ArmName, FaultBand
from governor.lab.side_by_side import OnSecond

ARMS: tuple[ArmName, ...] = ("ungoverned", "governed")


@contextmanager
def watching(scenario: Scenario) -> Iterator[OnSecond]:
    """Gives what to call with each second of each arm; shows it until the block ends."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        yield _Lines(scenario).second
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30, complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[text]}"),
        console=console,
        transient=True,
    ) as progress:
        yield _Bars(scenario, progress).second


class _Lines:
    """One line a second, when both arms have told it."""

    def __init__(self, scenario: Scenario) -> None:
        self._duration_s = scenario.duration_s
        self._faults = faults(scenario)
        self._lock = threading.Lock()
        self._first: dict[int, tuple[ArmName, Second]] = {}

    def second(self, arm: ArmName, now: Second) -> None:
        if now.second > self._duration_s:
            return  # nothing is sent any more, only the last answers come in
        with self._lock:
            if now.second not in self._first:
                self._first[now.second] = (arm, now)
                return
            told = dict([self._first.pop(now.second), (arm, now)])
            parts = [f"{name} {totals(told[name])[1]:3d}/s" for name in ARMS]
            sent = f"{now.second:4d} of {self._duration_s:g} s  sent {totals(now)[0]:3d}/s"
            fault = going_on(self._faults, now.second)
            print(f"{sent}, answered in time: {', '.join(parts)}  {fault}".rstrip(), flush=True)


class _Bars:
    """Time, and for each arm the part of this second's requests that was answered in time."""

    def __init__(self, scenario: Scenario, progress: Progress) -> None:
        self._duration_s = scenario.duration_s
        self._faults = faults(scenario)
        self._progress = progress
        self._time = progress.add_task("time", total=scenario.duration_s, text="")
        self._arms = {arm: progress.add_task(arm, total=1.0, text="") for arm in ARMS}

    def second(self, arm: ArmName, now: Second) -> None:
        if now.second > self._duration_s:
            return
        sent, good = totals(now)
        self._progress.update(
            self._arms[arm], completed=good, total=max(sent, good, 1), text=f"{good}/s of {sent}/s in time"
        )
        text = f"{now.second} of {self._duration_s:g} s  {going_on(self._faults, now.second)}"
        self._progress.update(self._time, completed=now.second, text=text)


def totals(now: Second) -> tuple[int, int]:
    """Requests sent in this second, and answers in time that came in it."""
    counts = now.classes.values()
    return sum(sent for sent, _, _ in counts), sum(good for _, good, _ in counts)


def faults(scenario: Scenario) -> tuple[FaultBand, ...]:
    """What happens in the whole of a scenario."""
    return fault_bands(scenario, round(scenario.duration_s))


def going_on(bands: Sequence[FaultBand], second: int) -> str:
    """The faults under way in a second, counted from 1; empty if there is none."""
    return ", ".join(band.label for band in bands if band.start_s < second <= band.end_s)
