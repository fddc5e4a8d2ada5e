"""Where `governor train` reads its series: a Prometheus, a recording, or a folder of files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governor.errors import DocumentError, SourceError

if TYPE_CHECKING:
    from governor.train.job import Progress as OnStep
    from governor.train.series import Series

PROMETHEUS, RECORDING = "prometheus", "recording"
DEFAULT_SINCE = "14d"
LONGEST_S = 400.0 * 86_400.0
_UNITS_S = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True)
class History:
    """What to read, as the command line says it."""

    source: str
    since: str | None
    recording: Path | None
    sets: tuple[str, ...] = ()
    """Of a folder only these groups; empty: all."""


def read(history: History, config: Path | None, given: Mapping[str, Any], on_step: OnStep) -> list[Series]:
    """The series that `history` names, only the newest part of each; SourceError if there is none.

    `config` and `given` (as in `settings_for`) say which Prometheus.
    """
    if history.source == PROMETHEUS:
        found = _prometheus(seconds(history.since or DEFAULT_SINCE), config, given, on_step)
    else:
        since_s = None if history.since is None else seconds(history.since)
        found = _files(history)
        if since_s is not None:
            found = [replace(one, history=one.history.last(one.history.steps(since_s))) for one in found]
    if not history.sets:
        return found
    chosen = [one for one in found if one.group in history.sets]
    absent = set(history.sets) - {one.group for one in chosen}
    if absent:
        there = ", ".join(sorted({one.group for one in found}))
        raise SourceError(f"{history.source}: holds no {' and no '.join(sorted(absent))}; it holds {there}")
    return chosen


def _files(history: History) -> list[Series]:
    from governor.train.recorded import is_recording, read_recording
    from governor.train.sources import read_folder

    if history.source == RECORDING and history.recording is None:
        raise DocumentError("--source recording needs to be told where it is: --recording PLACE")
    place = history.recording if history.source == RECORDING else Path(history.source)
    assert place is not None
    if not place.exists():
        raise SourceError(
            f"{place}: is not there; --source takes prometheus, recording (with --recording PLACE), or a "
            "folder of series"
        )
    recorded = history.source == RECORDING or is_recording(place)
    series = read_recording(place) if recorded else read_folder(place)
    if not series:
        raise SourceError(
            f"{place}: no service in it is called by another, so there is no request rate to learn from"
        )
    return series


def _prometheus(since_s: float, config: Path | None, given: Mapping[str, Any], on_step: OnStep) -> list[Series]:
    from governor.commands.output import settings_for
    from governor.runtime.wiring import prometheus_source
    from governor.train.prometheus import series_of, step_of

    with closing(prometheus_source(settings_for(config, given))) as source:
        names, history = source.history(
            since_s, step_of(since_s), lambda done, of: on_step("range queries", done, of)
        )
    return series_of(names, history)


def seconds(text: str) -> float:
    """`14d`, `36h` or `2w` in seconds; DocumentError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([hdw])", text.strip())
    span = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 3600.0 <= span <= LONGEST_S:
        raise DocumentError(
            f"--since {text}: is no span of time from 1h to {LONGEST_S / 86_400.0:.0f}d; write hours, days or "
            "weeks, as in 36h, 14d or 2w"
        )
    return span
