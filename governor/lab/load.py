"""The open-loop load generator: `python -m governor.lab.load PLAN`.

Requests go out when the schedule says, however slow the answers are. Commands come on standard
input (`go <monotonic start>`, `stop`); progress goes to standard output, a JSON line a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from governor.lab.arrivals import arrivals
from governor.lab.documents import Api, ClientRetries, Scenario
from governor.lab.faults import retries_at
from governor.lab.http_client import Call, Pool
from governor.lab.layout import dns
from governor.lab.processes import tie_to_parent
from governor.lab.results import LoadResult, Outcome

SWEEP_S = 0.01
"""How often deadlines are looked at."""
OPEN = -1
"""Outcome of a request without an outcome yet."""
_OUTCOMES = {
    200: Outcome.OK,
    429: Outcome.REJECTED_429,
    503: Outcome.REJECTED_503,
    504: Outcome.TIMEOUT,
}


@dataclass(frozen=True)
class LoadPlan:
    """What to send where: entry port per class, and the file the result goes to."""

    scenario: Scenario
    address: str
    ports: dict[str, int]
    output: Path

    def write(self, path: Path) -> None:
        """Save as JSON."""
        content = {
            "scenario": self.scenario.model_dump(mode="json"),
            "address": self.address,
            "ports": self.ports,
            "output": str(self.output),
        }
        path.write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> LoadPlan:
        """Read what `write` saved."""
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            Scenario.model_validate(content["scenario"]),
            content["address"],
            content["ports"],
            Path(content["output"]),
        )


@dataclass(slots=True)
class _Request:
    """One request of a client, over all its attempts."""

    index: int
    klass: int
    retries: ClientRetries
    attempt: int = 0
    call: Call | None = None


class Generator:
    """Sends the arrivals of a plan and accounts for every one of them."""

    def __init__(self, plan: LoadPlan) -> None:
        scenario = plan.scenario
        self._plan = plan
        self._names = list(scenario.load.classes)
        self._intended, self._klass = arrivals(scenario)
        count = len(self._intended)
        self._outcome = np.full(count, OPEN, dtype=np.int8)
        self._latency = np.zeros(count, dtype=np.float32)
        self._attempts = np.zeros(count, dtype=np.int16)
        self._pools = [Pool(plan.address, plan.ports[name]) for name in self._names]
        self._bytes = [_request_bytes(plan.scenario.api(name)) for name in self._names]
        self._timeouts = [load.timeout_s for load in scenario.load.classes.values()]
        self._deadlines: list[deque[tuple[float, _Request, int]]] = [deque() for _ in self._names]
        self._rng = random.Random(scenario.seed)  # noqa: S311 - jitter, not secrets
        self._next = 0
        self._open = 0
        self._start = 0.0
        self._done = asyncio.Event()
        self._second = np.zeros((len(self._names), 3), dtype=np.int64)

    async def run(self, start: float) -> LoadResult:
        """Send everything from the monotonic time `start` on, and wait for the last answer."""
        self._start = start
        loop = asyncio.get_running_loop()
        loop.call_later(max(0.0, start - time.monotonic()), self._dispatch)
        tasks = [loop.create_task(self._sweep()), loop.create_task(self._report())]
        if len(self._intended) == 0:
            loop.call_later(self._plan.scenario.duration_s, self._done.set)
        await self._done.wait()
        for task in tasks:
            task.cancel()
        return self._result()

    def stop(self) -> None:
        """End now; requests without an outcome are left out of the result."""
        self._next = len(self._intended)
        self._done.set()

    def _dispatch(self) -> None:
        now = time.monotonic() - self._start
        while self._next < len(self._intended) and self._intended[self._next] <= now:
            index = self._next
            self._next += 1
            klass = int(self._klass[index])
            at_s = float(self._intended[index])
            retries = retries_at(self._plan.scenario, self._names[klass], at_s)
            self._open += 1
            self._second[klass, 0] += 1
            self._send(_Request(index, klass, retries), at_s)
        if self._next < len(self._intended):
            delay = max(0.0, self._intended[self._next] - now)
            asyncio.get_running_loop().call_later(delay, self._dispatch)

    def _send(self, request: _Request, at_s: float) -> None:
        request.attempt += 1
        self._attempts[request.index] += 1
        deadline = at_s + self._timeouts[request.klass]
        self._deadlines[request.klass].append((deadline, request, request.attempt))
        answered = partial(self._answered, request, request.attempt)
        request.call = self._pools[request.klass].get(self._bytes[request.klass], answered)

    def _answered(self, request: _Request, attempt: int, status: int) -> None:
        if attempt == request.attempt and self._outcome[request.index] == OPEN:
            self._attempt_over(request, _OUTCOMES.get(status, Outcome.ERROR))

    def _attempt_over(self, request: _Request, outcome: Outcome) -> None:
        request.call = None
        if outcome is not Outcome.OK and request.attempt <= request.retries.attempts:
            delay = request.retries.backoff_s * self._rng.uniform(0.5, 1.5)
            asyncio.get_running_loop().call_later(delay, self._again, request)
            return
        latency = time.monotonic() - self._start - self._intended[request.index]
        self._outcome[request.index] = outcome
        self._latency[request.index] = latency
        good = outcome is Outcome.OK and latency <= self._plan.scenario.slo.latency_s
        self._second[request.klass, 1 if good else 2] += 1
        self._open -= 1
        if self._open == 0 and self._next == len(self._intended):
            self._done.set()

    def _again(self, request: _Request) -> None:
        if not self._done.is_set():
            self._send(request, time.monotonic() - self._start)

    async def _sweep(self) -> None:
        while True:
            now = time.monotonic() - self._start
            for deadlines in self._deadlines:
                while deadlines and deadlines[0][0] <= now:
                    _, request, attempt = deadlines.popleft()
                    if request.attempt == attempt and request.call is not None:
                        request.call.abandon()
                        self._attempt_over(request, Outcome.TIMEOUT)
            await asyncio.sleep(SWEEP_S)

    async def _report(self) -> None:
        second = 0
        while True:
            second += 1
            await asyncio.sleep(max(0.0, self._start + second - time.monotonic()))
            counts = {
                name: [int(value) for value in row] for name, row in zip(self._names, self._second, strict=True)
            }
            self._second[:] = 0
            print(json.dumps({"second": second, "classes": counts}), flush=True)

    def _result(self) -> LoadResult:
        closed = self._outcome != OPEN
        scenario = self._plan.scenario
        return LoadResult(
            tuple(self._names),
            scenario.duration_s,
            scenario.slo.latency_s,
            scenario.slo.timeout_s,
            self._intended[closed],
            self._klass[closed],
            self._outcome[closed],
            self._latency[closed],
            self._attempts[closed],
        )


def _request_bytes(api: Api) -> bytes:
    lines = [
        f"GET /{api.name} HTTP/1.1",
        f"host: {dns(api.calls.service)}",
        f"x-api: {api.name}",
        f"x-priority: {api.priority}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def main(path: Path) -> None:
    """Get ready, wait for `go`, run, save, say `done`; end at once when the parent is gone."""
    plan = LoadPlan.read(path)
    generator = Generator(plan)
    started: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def read_command() -> None:
        for line in os.read(sys.stdin.fileno(), 4096).decode().splitlines() or [""]:
            word, _, argument = line.partition(" ")
            if word == "go":
                started.set_result(float(argument))
            elif word == "stop":
                generator.stop()
            else:
                os._exit(1)  # the parent is gone: nobody is left to report to

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read_command)
    print("ready", flush=True)
    result = await generator.run(await started)
    result.save(plan.output)
    print("done", flush=True)


if __name__ == "__main__":
    tie_to_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
