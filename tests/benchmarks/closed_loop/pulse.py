"""Did the machine itself stand still during a trial? A thread that should wake every 20 ms, and how late it came.

A stop of a second fills every queue of a lab and, at high load, is felt for many seconds after: such a trial says
more about the machine than about its arm.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

STEP_S = 0.02


class Pulse:
    """Context manager; `longest_s` is the longest delay of a wake-up so far."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(STEP_S)
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - self._last - STEP_S)
            self._last = now
