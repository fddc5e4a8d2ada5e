"""`governor record`: frames of the source into a recording, until Ctrl-C or for so long."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from governor.adapters.recording import RecordingWriter, join
from governor.commands.output import INTERRUPTED, NOTHING, counted, settings_for, show, warn
from governor.domain import MeshFrame
from governor.errors import SourceError
from governor.ports import MetricSource
from governor.runtime.signals import on_stop
from governor.runtime.wiring import source_of


@dataclass(frozen=True)
class Pace:
    """How often and how long."""

    window_s: float
    """Seconds that a frame looks at."""
    every_s: float
    """Seconds from one frame to the next."""
    for_s: float | None = None
    """None: until Ctrl-C."""


def record_source(
    config: Path | None, given: Mapping[str, Any], out: Path, every_s: float | None, for_s: float | None
) -> int:
    """Record what the settings' source says, with `given` of the command line on top."""
    settings = settings_for(config, given)
    every = every_s or settings.period_s
    with closing(source_of(settings)) as source:
        return record(source, out, Pace(settings.window_s or every, every, for_s))


def record(source: MetricSource, out: Path, pace: Pace) -> int:
    """Record into `out`: a directory of parts, or one file where it ends in .parquet.

    A directory that holds a recording is continued; a file is never overwritten. SourceError if there is no first
    frame or `out` cannot be written; later moments without a frame are told and left out. Exit code 130 if it was
    stopped before there was a frame.
    """
    as_file = out.suffix == ".parquet" and not out.is_dir()
    if as_file and out.exists():
        raise SourceError(f"{out}: is there already and is not overwritten; name another file, or a directory")
    directory = out.with_name(f"{out.name}.parts") if as_file else out
    new = not directory.exists()
    with closing(RecordingWriter(directory)) as writer:
        kept = writer.frames
        if kept:
            warn(f"{directory}: holds {counted(kept, 'frame')} already, the new ones are added")
        try:
            _until_stopped(source, writer, pace)
        finally:
            # Counted on disk: a signal may come between a part and any count of ours.
            total = writer.frames
            if new and not total:
                shutil.rmtree(directory)
    if as_file and total:
        join(directory, out)
        shutil.rmtree(directory)
    made = total - kept
    if not made:
        warn("stopped before there was a frame")
        return INTERRUPTED
    show(f"{counted(made, 'frame')} in {out}" + (f", {total} in all" if kept else ""))
    show(f"governor recommend --recording {out} reads them")
    return NOTHING


def _until_stopped(source: MetricSource, writer: RecordingWriter, pace: Pace) -> None:
    """Ctrl-C and SIGTERM end it at once; a part is whole or not there."""
    stopped = threading.Event()

    def stop() -> None:
        # The exception ends a wait for the source. Where Python drops it, in a finaliser, the flag ends the loop.
        stopped.set()
        raise KeyboardInterrupt

    made = 0
    try:
        with on_stop(stop), Console(stderr=True).status("waiting for the first frame") as status:
            if not sys.stderr.isatty():
                warn(f"recording into {writer.path}; Ctrl-C ends it")
            due = begun = time.monotonic()
            while pace.for_s is None or made == 0 or due - begun < pace.for_s:
                if stopped.wait(max(0.0, due - time.monotonic())):
                    break
                frame = _frame(source, pace.window_s, first=made == 0)
                if frame is not None:
                    writer.append(frame)
                    made += 1
                    told = f"{counted(made, 'frame')}, {time.monotonic() - begun:.0f} s: {_size(frame)}"
                    status.update(f"{told}; Ctrl-C ends it")
                # A frame that took longer than the time to the next one leaves turns out.
                due = max(due + pace.every_s, time.monotonic())
    except KeyboardInterrupt:
        pass  # the user's way to end a recording


def _frame(source: MetricSource, window_s: float, *, first: bool) -> MeshFrame | None:
    try:
        return source.observe(window_s)
    except SourceError as error:
        if first:
            raise
        warn(f"no frame this time: {error}")
        return None


def _size(frame: MeshFrame) -> str:
    return f"{counted(len(frame.index.services), 'service')}, {counted(len(frame.index.edges), 'edge')}"
