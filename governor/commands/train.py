"""`governor train`: a new forecast model from histories, promoted only if it wins."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from governor.commands.output import FOUND, NOTHING, show, warn
from governor.commands.train_source import History, read
from governor.errors import DocumentError, TrainingError

if TYPE_CHECKING:
    from governor.train.backend import Backend
    from governor.train.job import Outcome
    from governor.train.job import Progress as OnStep


@dataclass(frozen=True)
class Asked:
    """The command line."""

    history: History
    out: Path
    seed: int
    backend: str
    address: str | None
    jobs: int
    data: str | None
    """What card and manifest call the data; else the source."""


def train_forecast(asked: Asked, config: Path | None, given: Mapping[str, Any]) -> int:
    """Train on what `asked` names; 0 promoted, 1 the old model stays."""
    try:
        from governor.train.job import Job, train
    except ImportError as error:
        raise TrainingError(
            f"training needs {error.name}, which is not installed; install it with: pip install "
            "'mesh-governor[train]'"
        ) from error
    backend = _backend(asked)
    try:
        with _bars() as on_step:
            series = read(asked.history, config, given, on_step)
            warn(f"{asked.history.source}: {'1 series' if len(series) == 1 else f'{len(series):,} series'}")
            source = asked.data or asked.history.source
            outcome = train(series, asked.out, Job(seed=asked.seed, source=source, backend=backend), on_step)
    except KeyboardInterrupt:
        warn(f"stopped; {asked.out} is as it was")
        raise
    return _tell(outcome, asked.out)


def _backend(asked: Asked) -> Backend:
    from governor.train.backend import DaskBackend, LocalBackend

    if asked.backend == "local":
        if asked.address is not None:
            raise DocumentError(f"--address {asked.address} is for --backend dask; leave one out or give both")
        return LocalBackend(asked.jobs)
    if asked.address is None:
        raise DocumentError("--backend dask needs the scheduler's --address, as in tcp://127.0.0.1:8786")
    return DaskBackend(asked.address)


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
    show("\n".join(line for line in outcome.card.splitlines() if line.startswith("|")))
    if outcome.no_champion is not None:
        warn(f"compared with the naive forecasts only: {outcome.no_champion}")
    if outcome.promoted:
        show(
            f"forecast/{outcome.version} is in use in {out} now; its card: "
            f"{out}/forecast/{outcome.version}/card.md"
        )
        return NOTHING
    for reason in outcome.contest.lost:
        warn(f"not promoted: {reason}")
    warn(f"{out} is as it was")
    return FOUND
