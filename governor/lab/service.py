"""The services of a lab, all in one process: `python -m governor.lab.service CONFIG`.

Every replica listens on its own port and answers after its turn in the queue and its calls to other
services, which go through Envoy. Work of callers that have gone away is still done, as real
servers do: that is what makes retry storms last.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import cast

import uvloop

from governor.lab.http_client import Pool
from governor.lab.layout import dns
from governor.lab.processes import tie_to_parent
from governor.lab.queueing import Completion, Replica, service_times
from governor.lab.service_plan import FaultAction, ReplicaPlan, ServicePlan

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
FORWARDED = {429, 503, 504}
"""Statuses of a failed call that are handed on as they are; any other becomes 502."""


def _answer(status: int) -> bytes:
    return f"HTTP/1.1 {status} lab\r\ncontent-length: 0\r\n\r\n".encode()


@dataclass
class Counters:
    """What one replica has done since the lab started."""

    completed: int = 0
    """Answered after own work was done, whether or not the caller still waited."""
    duration_s: float = 0.0
    wasted: int = 0
    refused: int = 0
    failed: int = 0


@dataclass
class Job:
    """One request at one replica."""

    connection: ServerConnection
    api: str
    node: int
    headers: bytes
    arrived: float
    calls_left: list[int] = field(default_factory=list)


class ReplicaServer:
    """One replica on its port: queue, faults, calls to other services, counters."""

    def __init__(self, plan: ReplicaPlan, mesh: Mesh, rng: random.Random) -> None:
        self.plan = plan
        self.counters = Counters()
        self._mesh = mesh
        self._rng = rng
        self._error_rate = 0.0
        draw = service_times(plan.distribution, plan.service_time_s, rng)
        self.queue: Replica[Job] = Replica(plan.workers, draw, plan.queue_limit)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def request(self, connection: ServerConnection, head: bytes) -> None:
        """Take one request; its path is `/<api>[/<position in the call tree>]`."""
        now = time.monotonic()
        if self._error_rate and self._rng.random() < self._error_rate:
            self.counters.failed += 1
            connection.answer(_answer(500))
            return
        _, api, *position = head[4 : head.index(b" ", 4)].decode().split("/")
        node = int(position[0]) if position and position[0].isdigit() else 0
        priority = b"high" if b"\r\nx-priority: high" in head else b"low"
        headers = b"\r\nx-api: " + api.encode() + b"\r\nx-priority: " + priority
        nodes = self._mesh.plan.apis.get(api)
        if nodes is None or node >= len(nodes):
            connection.answer(_answer(404))
            return
        job = Job(connection, api, node, headers, now, list(nodes[node][1]))
        self._advance(now)
        if not self.queue.arrive(job, now):
            self.counters.refused += 1
            connection.answer(_answer(503))
            return
        self._schedule()

    def fault(self, action: FaultAction) -> None:
        """Put a fault on, or take it off again."""
        now = time.monotonic()
        self._advance(now)
        if action.workers_factor is not None:
            workers = max(1, round(self.plan.workers * action.workers_factor))
            self.queue.set_workers(workers, now)
        if action.slowdown is not None:
            self.queue.slowdown = action.slowdown
        if action.error_rate is not None:
            self._error_rate = action.error_rate
        self._schedule()

    def bring_up_to_date(self) -> None:
        """Let virtual time catch up with the clock, before counters are read."""
        self._advance(time.monotonic())
        self._schedule()

    def _advance(self, now: float) -> None:
        for done in self.queue.advance(now):
            self._own_work_done(done)

    def _schedule(self) -> None:
        end = self.queue.next_end()
        if end is None or (self._timer is not None and self._timer_at <= end):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = end
        delay = max(0.0, end - time.monotonic())
        self._timer = self._mesh.loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._advance(time.monotonic())
        self._schedule()

    def _own_work_done(self, done: Completion[Job]) -> None:
        self._next_call(done.item)

    def _next_call(self, job: Job) -> None:
        if not job.calls_left:
            self._finish(job, OK)
            return
        position = job.calls_left.pop(0)
        callee = self._mesh.plan.apis[job.api][position][0]
        request = (
            f"GET /{job.api}/{position} HTTP/1.1\r\nhost: {dns(callee)}".encode() + job.headers + b"\r\n\r\n"
        )

        def answered(status: int) -> None:
            if status == HTTPStatus.OK:
                self._next_call(job)
            else:
                self._finish(job, _answer(status if status in FORWARDED else 502))

        self._mesh.pool(self.plan.service, callee).get(request, answered)

    def _finish(self, job: Job, answer: bytes) -> None:
        self.counters.completed += 1
        self.counters.duration_s += time.monotonic() - job.arrived
        if not job.connection.answer(answer):
            self.counters.wasted += 1


class ServerConnection(asyncio.Protocol):
    """HTTP/1.1 server side of one connection: GETs without bodies, no pipelining."""

    def __init__(self, on_request: Callable[[ServerConnection, bytes], None]) -> None:
        self._on_request = on_request
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def connection_lost(self, _exc: Exception | None) -> None:
        """The caller is gone; its work goes on."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Hand on each whole request head."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[: end + 4], self._received[end + 4 :]
            self._on_request(self, head)

    def answer(self, response: bytes) -> bool:
        """Send the response; False if the caller is gone."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(response)
        return True


class Mesh:
    """All replicas of the lab and the pools they call each other with."""

    def __init__(self, plan: ServicePlan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.loop = loop
        self._pools: dict[tuple[str, str], Pool] = {}
        self.replicas = [
            ReplicaServer(replica, self, random.Random(f"{plan.seed}/{replica.pod}"))  # noqa: S311 - a queue model
            for replica in plan.replicas
        ]

    def pool(self, caller: str, callee: str) -> Pool:
        """Connections from caller to the callee's edge in Envoy."""
        key = (caller, callee)
        if key not in self._pools:
            self._pools[key] = Pool(self.plan.address, self.plan.edge_ports[f"{caller}|{callee}"])
        return self._pools[key]

    async def serve(self) -> None:
        """Listen on every replica's port."""
        for replica in self.replicas:
            await self.loop.create_server(
                partial(ServerConnection, replica.request),
                self.plan.address,
                replica.plan.port,
                backlog=1024,
            )

    def schedule(self, actions: list[FaultAction], start: float) -> None:
        """Apply each action at its time after `start` (the clock of time.monotonic)."""
        for action in actions:
            for replica in self.replicas:
                if replica.plan.service != action.service:
                    continue
                if action.replica in (None, replica.plan.index):
                    delay = max(0.0, start + action.at_s - time.monotonic())
                    self.loop.call_later(delay, replica.fault, action)


async def main(config: Path) -> None:
    """Serve until standard input closes."""
    from governor.lab.service_metrics import MetricsServer

    loop = asyncio.get_running_loop()
    mesh = Mesh(ServicePlan.read(config), loop)
    await mesh.serve()
    await MetricsServer(mesh).serve()
    print("ready", flush=True)
    parent_gone = asyncio.Event()

    def read_input() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            parent_gone.set()

    loop.add_reader(sys.stdin.fileno(), read_input)
    await parent_gone.wait()


if __name__ == "__main__":
    tie_to_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
