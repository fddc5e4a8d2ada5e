"""A stand-in for the lab: the same scenario documents, services and faults, in virtual time and without Envoy.

One event queue; services are the lab's own queue model, the proxies a model of what Envoy does with in-flight
caps, retries, budgets, time-outs, weights and token buckets. A minute of traffic takes a second or two, so that
the whole cycle can be tried over many scenarios and seeds. It proves nothing about Envoy: the lab does that.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from governor.lab.arrivals import arrivals
from governor.lab.documents import Scenario
from governor.lab.envoy_filters import BURST_S
from governor.lab.faults import replica_actions, retries_at
from governor.lab.layout import INGRESS, call_nodes
from governor.lab.queueing import Replica, service_times
from governor.lab.results import LoadResult, Outcome
from governor.lab.service_plan import FaultAction

Done = Callable[[int], None]
"""Told the status of an answer."""
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


class Server:
    """One replica with its faults."""

    def __init__(self, mesh: Mesh, service: str, index: int, replica: Replica[tuple[int, float, Done]]) -> None:
        self.mesh, self.service, self.index = mesh, service, index
        self.queue = replica
        self.nominal = replica.workers
        self.error_rate = 0.0
        self.completed = 0
        self.duration_s = 0.0
        self.rng = random.Random(f"{mesh.scenario.seed}/{service}-{index}")
        self._due = math.inf

    def request(self, job: tuple[int, float, Done]) -> None:
        if self.error_rate and self.rng.random() < self.error_rate:
            job[2](500)
            return
        self.advance()
        if not self.queue.arrive(job, self.mesh.now):
            job[2](503)
            return
        self._schedule()

    def apply(self, action: FaultAction) -> None:
        self.advance()
        if action.workers_factor is not None:
            self.queue.set_workers(max(1, round(self.nominal * action.workers_factor)), self.mesh.now)
        if action.slowdown is not None:
            self.queue.slowdown = action.slowdown
        if action.error_rate is not None:
            self.error_rate = action.error_rate
        self._schedule()

    def advance(self) -> None:
        for done in self.queue.advance(self.mesh.now):
            _, arrived, answer = done.item
            self.mesh.own_work_done(self, done.item, arrived, answer)

    def _schedule(self) -> None:
        end = self.queue.next_end()
        if end is not None and end < self._due:
            self._due = end
            self.mesh.at(end, self._tick)

    def _tick(self) -> None:
        self._due = math.inf
        self.advance()
        self._schedule()


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


@dataclass
class ApiCounters:
    """What the entry counts for one API."""

    offered: int = 0
    limited: int = 0
    completed: int = 0
    errors: int = 0


class Mesh:
    """All of a scenario in virtual time, run forward by `run_until`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now = 0.0
        self.rng = random.Random(scenario.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self.servers = {s.name: self._servers(s.name) for s in scenario.topology.services}
        self.nodes = {api.name: call_nodes(api.calls) for api in scenario.apis}
        self._keys: list[tuple[str, int, str]] = []
        self._key_of: dict[tuple[str, int, str], int] = {}
        self.edges: dict[str, SimulatedEdge] = {}
        for api in scenario.apis:
            self._edge(INGRESS, api.calls.service)
            for call in api.calls.walk():
                for below in call.calls:
                    self._edge(call.service, below.service)
        self.buckets: dict[str, Bucket | None] = dict.fromkeys(scenario.load.classes)
        self.apis = {name: ApiCounters() for name in scenario.load.classes}
        for action in replica_actions(scenario.faults):
            self.at(action.at_s, partial(self._fault, action))
        self._load = _Load(self)

    def _servers(self, name: str) -> list[Server]:
        service = self.scenario.topology.service(name)
        return [
            Server(
                self,
                name,
                i,
                Replica(
                    service.workers,
                    service_times(
                        service.distribution,
                        service.service_time_s,
                        random.Random(f"{self.scenario.seed}/{name}-{i}/work"),
                    ),
                    service.queue_limit,
                ),
            )
            for i in range(service.replicas)
        ]

    def _edge(self, caller: str, callee: str) -> None:
        name = f"out|{caller}|{callee}"
        if name in self.edges:
            return
        plane, servers = self.scenario.data_plane, self.servers[callee]
        settings = EdgeSettings(timeout_s=plane.timeout_s, weights=[1.0] * len(servers))
        if plane.retries is not None:
            settings.attempts, settings.per_try_s = plane.retries.attempts, plane.retries.per_try_timeout_s
        if plane.retry_budget is not None:
            settings.budget = plane.retry_budget.percent / 100.0
            settings.min_retry_concurrency = plane.retry_budget.min_concurrency
        self.edges[name] = SimulatedEdge(self, name, servers, settings)

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do `what` at `when`."""
        self._sequence += 1
        heapq.heappush(self._events, (when, self._sequence, what))

    def run_until(self, end: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end
        for servers in self.servers.values():
            for server in servers:
                server.advance()

    def node_key(self, api: str, node: int, priority: str) -> int:
        """A number that stands for one place in a call tree."""
        key = (api, node, priority)
        if key not in self._key_of:
            self._key_of[key] = len(self._keys)
            self._keys.append(key)
        return self._key_of[key]

    def own_work_done(self, server: Server, job: tuple[int, float, Done], arrived: float, answer: Done) -> None:
        """A replica has done its own part: now the calls to others, one after another."""
        api, node, priority = self._keys[job[0]]
        calls = list(self.nodes[api][node][1])

        def step(status: int) -> None:
            if status == 200 and calls:
                below = calls.pop(0)
                edge = self.edges[f"out|{server.service}|{self.nodes[api][below][0]}"]
                edge.request(priority, below, api, step)
                return
            server.completed += 1
            server.duration_s += self.now - arrived
            answer(status)

        step(200)

    def _fault(self, action: FaultAction) -> None:
        for server in self.servers[action.service]:
            if action.replica in (None, server.index):
                server.apply(action)

    def enter(self, class_name: str, done: Done) -> Callable[[], None]:
        """One request of a client; gives back what cancels it."""
        counters, bucket = self.apis[class_name], self.buckets[class_name]
        counters.offered += 1
        if bucket is not None and not bucket.take(self.now):
            counters.limited += 1
            done(429)
            return lambda: None
        api = self.scenario.api(class_name)

        def answered(status: int) -> None:
            counters.completed += 1
            counters.errors += status >= 500
            done(status)

        edge = self.edges[f"out|{INGRESS}|{api.calls.service}"]
        return edge.request("high" if api.priority == "high" else "default", 0, api.name, answered)

    def result(self) -> LoadResult:
        """What the clients saw so far."""
        return self._load.result()


class _Load:
    """Open-loop clients."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.names = tuple(mesh.scenario.load.classes)
        self.intended, self.klass = arrivals(mesh.scenario)
        count = len(self.intended)
        self.outcome = np.full(count, -1, np.int8)
        self.latency = np.zeros(count, np.float32)
        self.attempts = np.zeros(count, np.int16)
        for i, when in enumerate(self.intended.tolist()):
            mesh.at(when, partial(self._send, i))

    def _send(self, i: int) -> None:
        mesh, name = self.mesh, self.names[self.klass[i]]
        self.attempts[i] += 1
        over = [False]
        cancel: list[Callable[[], None]] = []

        def done(status: int) -> None:
            if not over[0]:
                over[0] = True
                self._attempt_over(i, _OUTCOMES.get(status, Outcome.ERROR))

        def give_up() -> None:
            if not over[0]:
                over[0] = True
                cancel[0]()
                self._attempt_over(i, Outcome.TIMEOUT)

        mesh.at(mesh.now + mesh.scenario.load.classes[name].timeout_s, give_up)
        cancel.append(mesh.enter(name, done))

    def _attempt_over(self, i: int, outcome: Outcome) -> None:
        mesh = self.mesh
        retries = retries_at(mesh.scenario, self.names[self.klass[i]], float(self.intended[i]))
        if outcome is not Outcome.OK and self.attempts[i] <= retries.attempts:
            mesh.at(mesh.now + retries.backoff_s * mesh.rng.uniform(0.5, 1.5), partial(self._send, i))
            return
        self.outcome[i] = outcome
        self.latency[i] = mesh.now - self.intended[i]

    def result(self) -> LoadResult:
        scenario, closed = self.mesh.scenario, self.outcome >= 0
        return LoadResult(
            self.names,
            scenario.duration_s,
            scenario.slo.latency_s,
            scenario.slo.timeout_s,
            self.intended[closed],
            self.klass[closed],
            self.outcome[closed],
            self.latency[closed],
            self.attempts[closed],
        )


_OUTCOMES = {200: Outcome.OK, 429: Outcome.REJECTED_429, 503: Outcome.REJECTED_503, 504: Outcome.TIMEOUT}
