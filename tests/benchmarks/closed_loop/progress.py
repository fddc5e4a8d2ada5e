"""How far the trials are, on standard error: a bar on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tests.benchmarks.closed_loop.lanes import Finished
from tests.benchmarks.closed_loop.trial import Trial

START_S = 3.0
"""First guess of what starting and ending a lab takes."""


class Watch:
    """Counts what is over and tells how long the rest will take."""

    def __init__(self, trials: Sequence[Trial], lanes: int, bar: Progress | None, console: Console) -> None:
        self._total = len(trials)
        self._lanes = lanes
        self._console = console
        self._bar = bar
        self._task = TaskID(0) if bar is None else bar.add_task("trials", total=self._total, eta="")
        self._left_s = sum(trial.scenario.duration_s for trial in trials)
        self._over = 0
        self._overhead_s = START_S

    def finished(self, done: Finished) -> None:
        """One more is over."""
        self._over += 1
        self._left_s -= done.trial.scenario.duration_s
        if done.outcome is not None:
            own = done.took_s - done.trial.scenario.duration_s
            self._overhead_s += (own - self._overhead_s) / self._over
        said = f"failed: {done.failure}" if done.outcome is None else f"done in {done.took_s:.0f} s"
        if done.tries > 1:
            said += f", {done.tries} tries"
        line = f"[{self._over}/{self._total}] {done.trial.name}: {said}"
        if self._bar is None:
            self._console.print(f"{line}; {self._rest()}", markup=False, highlight=False, soft_wrap=True)
            return
        if done.outcome is None:
            self._bar.console.print(line, markup=False)
        self._bar.update(self._task, advance=1, description=done.trial.name, eta=self._rest())

    def _rest(self) -> str:
        left = (self._left_s + self._overhead_s * (self._total - self._over)) / self._lanes
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"


@contextmanager
def watching(trials: Sequence[Trial], lanes: int) -> Iterator[Watch]:
    """A watch over `trials` for as long as they run."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield Watch(trials, lanes, None, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[eta]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Watch(trials, lanes, bar, console)
