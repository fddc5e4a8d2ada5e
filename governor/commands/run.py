"""`governor run`: cycles until a signal, with health page and metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from governor.adapters.clock import SystemClock
from governor.adapters.kubernetes_lease import LeaseElector
from governor.commands.output import ERROR, NOTHING, settings_for
from governor.errors import ControlPlaneError
from governor.recovery import recover
from governor.runtime.governing import Governing
from governor.runtime.leading import Leading
from governor.runtime.learning import Learning
from governor.runtime.looking import looking
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.options import options_of
from governor.runtime.schedule import run_every
from governor.runtime.signals import on_stop
from governor.runtime.status import Status
from governor.runtime.web import application, serving
from governor.runtime.wiring import elector_of, ledger_of, models_of, past_of, plane_of, source_of
from governor.settings import RunMode, Settings
from governor.turn import CycleOptions, GovernorState, Ports

log = structlog.get_logger("governor")
_SLIPPED = {
    "error": "a cycle ended with an error",
    "missed": "a turn came too late and was left out",
    "max_instances": "the last cycle still runs (the first one may wait for a full window): a turn is left out",
}


def run_forever(config: Path | None, given: Mapping[str, Any] | None = None, cycles: int | None = None) -> int:
    """Govern until SIGTERM, SIGINT or `cycles` cycles; the running cycle is finished first.

    `given` are settings of the command line. Exit code 2 if `cycles` were asked for and the last one failed.
    """
    settings = settings_for(config, given)
    options = options_of(settings)
    metrics, status = (
        GovernorMetrics(version("mesh-governor"), settings.mode.value),
        Status(settings.period_s),
    )
    elector = elector_of(settings) if settings.mode is RunMode.ENFORCE else None
    plane = plane_of(settings, elector.check) if elector else plane_of(settings)
    ledger = ledger_of(settings)
    stop = threading.Event()
    # From here on: a signal while an earlier process' writes are put back must not cut that short.
    with on_stop(stop.set), closing(source_of(settings)) as source:
        ports = Ports(source, plane, ledger, SystemClock())
        learning = Learning(models_of(settings), past_of(settings))
        leading = Leading(elector, ports, metrics, status) if elector else None
        begun = GovernorState() if leading else _begin(ports, settings)
        governing = Governing(ports, lambda: _now(options, settings), metrics, status, begun, learning, leading)
        with (
            _taking_part(elector),
            closing(learning),
            serving(application(status, metrics), settings.health) as address,
            looking(settings.look_s, governing.look),
        ):
            log.info("governing", mode=settings.mode.value, period_s=settings.period_s, page=address)
            if settings.mode is RunMode.RECOMMEND:
                log.info("recommend mode: nothing will be written")
            run_every(
                settings.period_s,
                lambda: (governing.once(), None)[1],
                lambda event, error: _count(metrics, event, error),
                stop_after=lambda: cycles is not None and status.snapshot.finished >= cycles,
                stop=stop,
            )
    last = status.snapshot
    log.info("stopped", cycles=last.finished)
    return ERROR if cycles is not None and last.failed_in_a_row else NOTHING


@contextmanager
def _taking_part(elector: LeaseElector | None) -> Iterator[None]:
    """Stand for leadership meanwhile, where there is one to be had; it is let go at the end."""
    if elector is None:
        yield
        return
    elector.start()
    try:
        yield
    finally:
        try:
            elector.close()
        except ControlPlaneError as error:
            log.warning("leadership was not handed over, the Lease runs out by itself", error=str(error))


def _begin(ports: Ports, settings: Settings) -> GovernorState:
    """Take up what an earlier process left open; without leave to write, only say that there is something."""
    if settings.mode is RunMode.RECOMMEND:
        if left := ports.ledger.open_intents():
            log.warning(
                "writes without a receipt are left as they are in recommend mode", ids=[e.id for e in left]
            )
        return GovernorState()
    state, notes = recover(ports)
    for note in notes:
        log.warning("recovered", note=note)
    if state.pending:
        log.info("writes of an earlier process are still to be judged", ids=[p.decision for p in state.pending])
    return state


def _now(options: CycleOptions, settings: Settings) -> CycleOptions:
    """The options with the pause file looked at again: it is the one thing that changes while we run."""
    return replace(options, paused=settings.pause_file is not None and settings.pause_file.exists())


def _count(metrics: GovernorMetrics, event: str, error: BaseException | None) -> None:
    metrics.schedule.labels(event).inc()
    if error is None:
        log.warning(_SLIPPED[event], event_kind=event)
    else:
        log.error("a cycle ended with a fault of the governor itself", error=repr(error))
