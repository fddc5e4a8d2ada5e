"""One cycle after another, never two at once.

APScheduler's defaults are made for many small jobs: here one worker, one instance, missed turns folded into
one. An exception in a job is only logged by the scheduler, so a listener turns each into a count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    EVENT_SCHEDULER_STARTED,
    JobEvent,
)
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.blocking import BlockingScheduler

from governor.runtime.signals import on_stop

_EVENTS = {
    EVENT_JOB_ERROR: "error",
    EVENT_JOB_MISSED: "missed",
    EVENT_JOB_MAX_INSTANCES: "max_instances",
}


def run_every(
    period_s: float,
    job: Callable[[], None],
    on_event: Callable[[str, BaseException | None], None],
    stop_after: Callable[[], bool] = lambda: False,
    stop: threading.Event | None = None,
) -> None:
    """Call `job` at once and then every `period_s` seconds, until SIGTERM, SIGINT or `stop_after()` is true.

    Must be called in the main thread. The cycle that runs when the signal comes is finished first. `on_event`
    gets `error`, `missed` or `max_instances`, with the exception of an error. `stop` ends it as a signal does;
    set already, nothing is called at all.
    """
    scheduler = BlockingScheduler(
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(max_workers=1)},
        timezone=UTC,
    )
    stop = stop or threading.Event()

    def once() -> None:
        if stop.is_set():
            return
        job()
        if stop_after():
            stop.set()

    def listen(event: JobEvent) -> None:
        on_event(_EVENTS[event.code], getattr(event, "exception", None))

    scheduler.add_job(
        once,
        "interval",
        seconds=period_s,
        next_run_time=datetime.now(UTC),
        max_instances=1,
        coalesce=True,
        misfire_grace_time=max(1, round(period_s / 2)),
    )
    scheduler.add_listener(listen, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    # Waiting for the running cycle in a signal handler would hold the scheduler's locks: a thread does it.
    # It begins only when the scheduler runs, or an early signal would be lost.
    closer = threading.Thread(
        target=lambda: (stop.wait(), scheduler.shutdown(wait=True)), name="closer", daemon=True
    )
    scheduler.add_listener(lambda _: closer.start(), EVENT_SCHEDULER_STARTED)
    with on_stop(stop.set):
        scheduler.start()
        closer.join()
