"""A replica: c workers behind one FIFO queue, in virtual time.

The next request starts at the exact end of the one before, however late the process looks at its
clock, so that capacity is exact even when the machine is busy. No clock and no I/O in here.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Completion(Generic[T]):
    """A request whose work is done: what was queued, when it came, started and ended (s)."""

    item: T
    arrived: float
    started: float
    ended: float


class Replica(Generic[T]):
    """c-worker FIFO queue with service times from `draw`, run forward by `advance`."""

    def __init__(self, workers: int, draw: Callable[[], float], queue_limit: int) -> None:
        self.workers = workers
        self.slowdown = 1.0
        self._draw = draw
        self._queue_limit = queue_limit
        self._waiting: deque[tuple[T, float]] = deque()
        self._running: list[tuple[float, int, T, float, float]] = []
        self._sequence = 0
        self._busy_s = 0.0
        self._busy_until = 0.0

    @property
    def busy(self) -> int:
        """Workers at work."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def arrive(self, item: T, now: float) -> bool:
        """Take a request at time `now` (after `advance(now)`); False if the queue is full."""
        if len(self._running) < self.workers and not self._waiting:
            self._start(item, now, now)
            return True
        if len(self._waiting) >= self._queue_limit:
            return False
        self._waiting.append((item, now))
        return True

    def advance(self, now: float) -> list[Completion[T]]:
        """Let time pass until `now`: everything that ends by then, in order of its end."""
        done = []
        while self._running and self._running[0][0] <= now:
            end = self._running[0][0]
            self._account(end)
            _, _, item, arrived, started = heapq.heappop(self._running)
            done.append(Completion(item, arrived, started, end))
            self._fill(end)
        self._account(now)
        return done

    def next_end(self) -> float | None:
        """When the next request will be done, or None if no worker is busy."""
        return self._running[0][0] if self._running else None

    def set_workers(self, workers: int, now: float) -> None:
        """Change how many workers may start work; those at work finish first."""
        self.workers = workers
        self._fill(now)

    def busy_seconds(self) -> float:
        """Worker seconds spent so far, up to the last `advance`."""
        return self._busy_s

    def _fill(self, when: float) -> None:
        while self._waiting and len(self._running) < self.workers:
            item, arrived = self._waiting.popleft()
            self._start(item, arrived, when)

    def _start(self, item: T, arrived: float, when: float) -> None:
        self._account(when)
        self._sequence += 1
        end = when + self._draw() * self.slowdown
        heapq.heappush(self._running, (end, self._sequence, item, arrived, when))

    def _account(self, until: float) -> None:
        if until > self._busy_until:
            self._busy_s += len(self._running) * (until - self._busy_until)
            self._busy_until = until


def service_times(distribution: str, mean_s: float, rng: random.Random) -> Callable[[], float]:
    """Draws service times: `exp`, `constant`, or `lognormal` with coefficient of variation 1."""
    if distribution == "constant":
        return lambda: mean_s
    if distribution == "exp":
        return lambda: rng.expovariate(1.0 / mean_s)
    sigma = math.sqrt(math.log(2.0))
    mu = math.log(mean_s) - sigma * sigma / 2
    return lambda: rng.lognormvariate(mu, sigma)
