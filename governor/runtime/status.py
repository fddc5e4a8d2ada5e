"""What the last cycle was like, shared between the scheduler's thread and the web page's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from governor.explain.report import Advice


@dataclass(frozen=True)
class Snapshot:
    """State at one moment."""

    finished: int = 0
    """Cycles that ended, whether well or not."""
    failed_in_a_row: int = 0
    last_error: str = ""
    last_finished: float | None = None
    """Monotonic seconds; None before the first."""
    advice: Advice | None = None


class Status:
    """The latest snapshot; safe between threads because snapshots are never changed, only replaced."""

    def __init__(self, period_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.period_s = period_s
        self._monotonic = monotonic
        self._started = monotonic()
        self._lock = threading.Lock()
        self._now = Snapshot()
        self.models = ""
        """Why the newest model is not in use; empty if it is."""
        self.following = ""
        """Why this replica writes nothing though it might; empty if it leads or is alone."""

    @property
    def snapshot(self) -> Snapshot:
        """The latest."""
        return self._now

    def succeeded(self, advice: Advice) -> None:
        """A cycle ended well."""
        with self._lock:
            self._now = Snapshot(finished=self._now.finished + 1, last_finished=self._monotonic(), advice=advice)

    def failed(self, error: str) -> None:
        """A cycle ended with an error; the advice of the last good one stays."""
        with self._lock:
            self._now = replace(
                self._now,
                finished=self._now.finished + 1,
                failed_in_a_row=self._now.failed_in_a_row + 1,
                last_error=error,
                last_finished=self._monotonic(),
            )

    @property
    def age_s(self) -> float:
        """Seconds since the last finished cycle, or since the start."""
        since = self._now.last_finished
        return self._monotonic() - (self._started if since is None else since)

    @property
    def alive(self) -> bool:
        """Whether cycles still finish. A failing source is no reason to be restarted; a stuck loop is."""
        return self.age_s <= max(4 * self.period_s, 30.0)

    @property
    def ready(self) -> bool:
        """Whether the last cycle ended well."""
        now = self._now
        return self.alive and now.finished > 0 and now.failed_in_a_row == 0
