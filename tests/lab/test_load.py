from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from governor.lab.arrivals import arrivals
from governor.lab.documents import ClassLoad, ClientRetries, Fault, Load, Scenario
from governor.lab.load import Generator, LoadPlan
from governor.lab.results import LoadResult

Answer = Callable[[int], int | None]
"""Status for the n-th request; None never answers."""


def test_arrivals_follow_schedule_spike_and_seed(small: Scenario) -> None:
    spike = Fault(kind="load_spike", at_s=1.0, for_s=1.0, factor=20, api="shop.low")
    scenario = small.model_copy(update={"faults": (spike,)})
    times, classes = arrivals(scenario)
    assert (np.diff(times) >= 0).all()
    low = np.bincount(times[classes == 1].astype(int), minlength=3)
    assert low[1] == pytest.approx(1200, rel=0.15)
    assert low[0] == pytest.approx(60, rel=0.6)
    again, _ = arrivals(scenario)
    assert (again == times).all()
    other, _ = arrivals(scenario.model_copy(update={"seed": 8}))
    assert len(other) != len(times) or (other != times).any()


def test_constant_arrivals_are_evenly_spaced(small: Scenario) -> None:
    even = ClassLoad(schedule=((3, 10),), arrivals="constant")
    scenario = small.model_copy(update={"load": Load(classes={"shop.low": even})})
    times, _ = arrivals(scenario)
    assert times == pytest.approx(np.arange(30) / 10 + 0.05)


async def _serve_and_generate(scenario: Scenario, address: str, answer: Answer) -> LoadResult:
    count = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                count += 1
                status = answer(count)
                if status is None:
                    await reader.read()  # until the client gives up
                    break
                writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, address, 0)
    port = server.sockets[0].getsockname()[1]
    ports = dict.fromkeys(scenario.load.classes, port)
    generator = Generator(LoadPlan(scenario, address, ports, Path("unused.npz")))
    async with server:
        return await generator.run(time.monotonic() + 0.05)


def _scenario(small: Scenario, **load: object) -> Scenario:
    one = ClassLoad.model_validate({"schedule": [[0.4, 100]], "arrivals": "constant", "timeout_s": 0.3, **load})
    changes = {"duration_s": 0.4, "load": Load(classes={"shop.low": one})}
    return small.model_copy(update=changes)


def test_every_request_is_accounted_for(small: Scenario, address: str) -> None:
    statuses: list[int | None] = [200, 429, 503, 504, 500, None, 200, 200]

    def answer(n: int) -> int | None:
        return statuses[n % len(statuses)]

    scenario = _scenario(small)
    result = asyncio.run(_serve_and_generate(scenario, address, answer))
    counts = {
        name: int(getattr(result, name)["shop.low"].sum())
        for name in ("offered", "ok", "rejected_429", "rejected_503", "timeouts", "errors")
    }
    assert counts == {
        "offered": 40,
        "ok": 15,
        "rejected_429": 5,
        "rejected_503": 5,
        "timeouts": 10,
        "errors": 5,
    }
    never_answered = result.latency[(result.outcome == 3) & (result.latency > 0.2)]
    assert len(never_answered) == 5
    assert never_answered.min() >= 0.3


def test_clients_retry_as_told_and_latency_counts_from_the_first_intention(small: Scenario, address: str) -> None:
    retries = ClientRetries(attempts=2, backoff_s=0.05)
    scenario = _scenario(small, retries=retries.model_dump(), timeout_s=1.0)
    result = asyncio.run(_serve_and_generate(scenario, address, lambda n: 503))
    assert result.rejected_503["shop.low"].sum() == 40
    assert (result.attempts == 3).all()
    assert result.latency.min() >= 0.05


def test_nobody_listening_is_an_error_not_a_hang(small: Scenario, address: str) -> None:
    with socket.socket() as unused:
        unused.bind((address, 0))
        port = unused.getsockname()[1]
    plan = LoadPlan(_scenario(small), address, {"shop.low": port}, Path("unused.npz"))

    async def generate() -> LoadResult:
        return await Generator(plan).run(time.monotonic())

    result = asyncio.run(generate())
    assert result.errors["shop.low"].sum() == 40
