"""A stand-in for the lab: the same scenario documents, services and faults, in virtual time and without Envoy.

One event queue; services are the lab's own queue model, the proxies a model of what Envoy does with in-flight
caps, retries, budgets, time-outs, weights and token buckets. A minute of traffic takes a second or two, so that
the whole cycle can be tried over many scenarios and seeds. It proves nothing about Envoy: the lab does that.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from governor.lab.documents import Scenario
from governor.lab.faults import replica_actions
from governor.lab.layout import INGRESS, call_nodes
from governor.lab.queueing import Replica, service_times
from governor.lab.results import LoadResult
from governor.lab.service_plan import FaultAction
from tests.trajectory.simulated_clients import Clients
from tests.trajectory.simulated_proxy import Bucket, EdgeSettings, SimulatedEdge
from tests.trajectory.simulated_servers import Done, Job, Server


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
        self._clients = Clients(self)

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

    def own_work_done(self, server: Server, job: Job, arrived: float, answer: Done) -> None:
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
        return self._clients.result()
