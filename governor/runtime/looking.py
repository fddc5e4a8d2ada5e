"""Short looks between two cycles, from a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger("governor")
SPARED = 10.0
"""Times as long as a look took, until the next one: in a large mesh looks must not eat the CPU."""


@contextmanager
def looking(every_s: float, look: Callable[[], object]) -> Iterator[None]:
    """Call `look` every `every_s` seconds meanwhile, seldom if it takes long; 0: never.

    At the end a look under way is finished first. A fault in one is logged, and ends the looks but nothing else.
    """
    if every_s <= 0:
        yield
        return
    over = threading.Event()

    def run() -> None:
        wait = every_s
        while not over.wait(wait):
            started = time.monotonic()
            try:
                look()
            except Exception:
                log.exception("no more looks between cycles: a fault of the governor itself")
                return
            wait = max(every_s, SPARED * (time.monotonic() - started))

    thread = threading.Thread(target=run, name="looking")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
