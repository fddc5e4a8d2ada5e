"""The proxy on each edge of a simulated mesh: what Envoy does with caps, retries, time-outs and weights."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from governor.lab.envoy_filters import BURST_S
from tests.trajectory.simulated_servers import Done, Server

if TYPE_CHECKING:
    from tests.trajectory.simulated_mesh import Mesh

HOP_S = 0.0005
"""What a proxy adds to a request."""


@dataclass
class EdgeSettings:
    """What can be turned on an edge; None: no limit."""

    cap: dict[str, int | None] = field(default_factory=lambda: {"default": None, "high": None})
    attempts: int = 0
    budget: float | None = None
    min_retry_concurrency: int = 3
    timeout_s: float = 2.0
    per_try_s: float | None = None
    weights: list[float] = field(default_factory=list)


@dataclass
class EdgeCounters:
    """What the proxy counts on an edge."""

    rate: int = 0
    errors: int = 0
    attempts: int = 0
    retries: int = 0
    timeouts: int = 0
    overflow: int = 0


class Attempt:
    """One try of one request on an edge."""

    __slots__ = ("answer", "edge", "member", "priority", "retry", "started")

    def __init__(self, edge: SimulatedEdge, priority: str, member: int, answer: Done, *, retry: bool) -> None:
        self.edge, self.priority, self.member, self.answer = edge, priority, member, answer
        self.retry = retry
        edge.active[priority] += 1
        edge.member_active[member] += 1
        edge.active_retries += retry

    def over(self) -> bool:
        """Leave the proxy; False if it has left before."""
        if self.answer is _NOBODY:
            return False
        self.answer = _NOBODY
        self.edge.active[self.priority] -= 1
        self.edge.member_active[self.member] -= 1
        self.edge.active_retries -= self.retry
        return True


def _NOBODY(_status: int) -> None:  # noqa: N802 - a marker
    """Nobody waits any more."""


class SimulatedEdge:
    """The proxy on one edge: balancing, caps, retries, time-outs."""

    def __init__(self, mesh: Mesh, name: str, servers: list[Server], settings: EdgeSettings) -> None:
        self.mesh, self.name, self.servers, self.settings = mesh, name, servers, settings
        self.counters = EdgeCounters()
        self.active = {"default": 0, "high": 0}
        self.active_retries = 0
        count = len(servers)
        self.member_active = [0] * count
        self.member_sent, self.member_good = [0] * count, [0] * count
        self.latencies: list[tuple[float, float]] = []
        self._credit = [0.0] * count
        self._rng = random.Random(f"{mesh.scenario.seed}/{name}")

    def request(self, priority: str, node: int, api: str, done: Done) -> Callable[[], None]:
        """Send one request; gives back what cancels it."""
        return _Exchange(self, priority, node, api, done).cancel

    def pick(self) -> int:
        """Smooth weighted round robin, or the better of two by requests in flight per weight."""
        weights = self.settings.weights
        if self.mesh.scenario.data_plane.lb_policy == "least_request":
            if max(weights) == min(weights):
                one, two = self._rng.randrange(len(weights)), self._rng.randrange(len(weights))
                return one if self.member_active[one] <= self.member_active[two] else two
            weights = [w / (n + 1) for w, n in zip(weights, self.member_active, strict=True)]
            return self._rng.choices(range(len(weights)), weights)[0]
        total = sum(weights)
        for i, weight in enumerate(weights):
            self._credit[i] += weight
        best = max(range(len(weights)), key=self._credit.__getitem__)
        self._credit[best] -= total
        return best

    def may_retry(self) -> bool:
        """Whether the retry budget has room."""
        budget = self.settings.budget
        if budget is None:
            return True
        active = self.active["default"] + self.active["high"]
        return self.active_retries < max(self.settings.min_retry_concurrency, budget * active)


class _Exchange:
    """One request with all its tries."""

    def __init__(self, edge: SimulatedEdge, priority: str, node: int, api: str, done: Done) -> None:
        self.edge, self.priority, self.node, self.api, self.done = edge, priority, node, api, done
        self.tries = 0
        self.attempt: Attempt | None = None
        self.closed = False
        self.started = edge.mesh.now
        edge.mesh.at(self.started + edge.settings.timeout_s, self._timed_out)
        self._try()

    def cancel(self) -> None:
        self.closed = True
        if self.attempt is not None:
            self.attempt.over()

    def _try(self) -> None:
        if self.closed:
            return
        edge, counters = self.edge, self.edge.counters
        cap = edge.settings.cap[self.priority]
        if cap is not None and edge.active[self.priority] >= cap:
            counters.overflow += 1
            self._finish(503)
            return
        member = edge.pick()
        retry = self.tries > 0
        self.tries += 1
        counters.attempts += 1
        counters.retries += retry
        edge.member_sent[member] += 1
        attempt = Attempt(edge, self.priority, member, _NOBODY, retry=retry)
        attempt.answer = partial(self._answered, attempt, edge.mesh.now)
        self.attempt = attempt
        if edge.settings.per_try_s is not None:
            edge.mesh.at(edge.mesh.now + edge.settings.per_try_s, partial(self._try_timed_out, attempt))
        hidden = partial(_tell, attempt)
        edge.mesh.at(edge.mesh.now + HOP_S, partial(self._deliver, member, hidden))

    def _deliver(self, member: int, hidden: Done) -> None:
        server = self.edge.servers[member]
        key = self.edge.mesh.node_key(self.api, self.node, self.priority)
        server.request((key, self.edge.mesh.now, hidden))

    def _answered(self, attempt: Attempt, sent: float, status: int) -> None:
        attempt.over()
        edge = self.edge
        if status == 200:
            edge.member_good[attempt.member] += 1
        edge.latencies.append((edge.mesh.now, edge.mesh.now - sent))
        self._over(status)

    def _try_timed_out(self, attempt: Attempt) -> None:
        if attempt.over():
            self.edge.counters.timeouts += 1
            self._over(504)

    def _over(self, status: int) -> None:
        edge = self.edge
        if status >= 500 and self.tries <= edge.settings.attempts and edge.may_retry():
            pause = edge.mesh.rng.uniform(0.0, 0.025 * (2**self.tries - 1))
            edge.mesh.at(edge.mesh.now + min(pause, 0.25), self._try)
            return
        self._finish(status)

    def _timed_out(self) -> None:
        if self.closed:
            return
        self.edge.counters.timeouts += 1
        if self.attempt is not None:
            self.attempt.over()
        self._finish(504)

    def _finish(self, status: int) -> None:
        if self.closed:
            return
        self.closed = True
        self.edge.counters.rate += 1
        self.edge.counters.errors += status >= 500
        self.done(status)


def _tell(attempt: Attempt, status: int) -> None:
    attempt.answer(status)


class Bucket:
    """A token bucket; a new one starts full, as Envoy's does."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.size = max(1.0, rate * BURST_S)
        self.tokens, self.at = self.size, now

    def take(self, now: float) -> bool:
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
