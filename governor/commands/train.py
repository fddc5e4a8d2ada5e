"""`governor train`: a new forecast model from histories, promoted only if it wins."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from governor.commands.output import FOUND, NOTHING, counted, show, warn
from governor.errors import DocumentError, SourceError, TrainingError

if TYPE_CHECKING:
    from governor.train.job import Outcome
    from governor.train.job import Progress as OnStep
    from governor.train.series import Series

_UNITS_S = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def train_forecast(source: Path, since: str | None, out: Path, seed: int) -> int:
    """Train on the folder or recording `source`; 0 promoted, 1 the old model stays."""
    try:
        from governor.train.job import Job, train
    except ImportError as error:
        raise TrainingError(
            f"training needs {error.name}, which is not installed; install it with: pip install 'mesh-governor[train]'"
        ) from error
    series = read(source, None if since is None else seconds(since))
    warn(f"{source}: {counted(len(series), 'series').removesuffix('s') if len(series) > 1 else '1 series'}")
    with _bars() as on_step:
        outcome = train(series, out, Job(seed=seed), on_step)
    return _tell(outcome, out)


def read(source: Path, since_s: float | None) -> list[Series]:
    """The series in `source`, only the last `since_s` seconds of each; SourceError if there is none."""
    from governor.train.recorded import is_recording, read_recording
    from governor.train.sources import read_folder

    if not source.exists():
        raise SourceError(f"{source}: is not there; name a folder of series or a recording")
    series = read_recording(source) if is_recording(source) else read_folder(source)
    if not series:
        raise SourceError(
            f"{source}: no service in it is called by another, so there is no request rate to learn from"
        )
    if since_s is None:
        return series
    return [replace(one, history=one.history.last(one.history.steps(since_s))) for one in series]


def seconds(text: str) -> float:
    """`14d`, `36h` or `2w` in seconds; DocumentError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if found is None or float(found[1]) <= 0.0:
        raise DocumentError(
            f"--since {text}: is no span of time; write hours, days or weeks, as in 36h, 14d or 2w"
        )
    return float(found[1]) * _UNITS_S[found[2]]


@contextmanager
def _bars() -> Iterator[OnStep]:
    """A bar for each step on a terminal, a line at the end of each step elsewhere."""
    if not sys.stderr.isatty():
        yield _line
        return
    with Progress(
        TextColumn("{task.description:>16}"),
        BarColumn(bar_width=40),
        TextColumn("{task.completed} of {task.total}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bars:
        tasks = {}

        def step(name: str, done: int, of: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=of)
            bars.update(tasks[name], completed=done, total=of)

        yield step


def _line(name: str, done: int, of: int) -> None:
    if done == of:
        warn(f"{name}: {of} of {of}")


def _tell(outcome: Outcome, out: Path) -> int:
    table = [line for line in outcome.card.splitlines() if line.startswith(("|", "WQL over"))]
    show("\n".join(table))
    if outcome.no_champion is not None:
        warn(f"compared with the naive forecasts only: {outcome.no_champion}")
    if outcome.promoted:
        show(
            f"forecast/{outcome.version} is in use in {out} now; its card: {out}/forecast/{outcome.version}/card.md"
        )
        return NOTHING
    for reason in outcome.contest.lost:
        warn(f"not promoted: {reason}")
    warn(f"{out} is as it was")
    return FOUND
