"""`governor run`: cycles until a signal, with health page and metrics."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import structlog

from governor.adapters.clock import SystemClock
from governor.commands.output import NOTHING, settings_for
from governor.cycle import CycleOptions, Ports, recover
from governor.runtime.governing import Governing
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.options import options_of
from governor.runtime.schedule import run_every
from governor.runtime.status import Status
from governor.runtime.web import application, serving
from governor.runtime.wiring import ledger_of, plane_of, source_of
from governor.settings import RunMode, Settings

log = structlog.get_logger("governor")


def run_forever(config: Path | None, cycles: int | None = None) -> int:
    """Govern until SIGTERM, SIGINT or `cycles` cycles; the running cycle is finished first."""
    settings = settings_for(config)
    options = options_of(settings)
    metrics, status = (
        GovernorMetrics(version("mesh-governor"), settings.mode.value),
        Status(settings.period_s),
    )
    plane = plane_of(settings)
    ledger = ledger_of(settings)
    with closing(source_of(settings)) as source:
        ports = Ports(source, plane, ledger, SystemClock())
        governing = Governing(ports, lambda: _now(options, settings), metrics, status)
        if settings.mode is RunMode.ENFORCE:
            for note in recover(ports):
                log.warning("recovered", note=note)
        with serving(application(status, metrics), settings.health) as address:
            log.info("governing", mode=settings.mode.value, period_s=settings.period_s, page=address)
            if settings.mode is RunMode.RECOMMEND:
                log.info("recommend mode: nothing will be written")
            run_every(
                settings.period_s,
                lambda: (governing.once(), None)[1],
                lambda event, error: _count(metrics, event, error),
                stop_after=lambda: cycles is not None and status.snapshot.finished >= cycles,
            )
    log.info("stopped", cycles=status.snapshot.finished)
    return NOTHING


def _now(options: CycleOptions, settings: Settings) -> CycleOptions:
    """The options with the pause file looked at again: it is the one thing that changes while we run."""
    return replace(options, paused=settings.pause_file is not None and settings.pause_file.exists())


def _count(metrics: GovernorMetrics, event: str, error: BaseException | None) -> None:
    metrics.schedule.labels(event).inc()
    log.warning("the schedule slipped", event_kind=event, error=repr(error) if error else None)
