"""What tests of the command line share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from governor import cli
from governor.lab.document_files import parse_scenario
from governor.lab.documents import Scenario
from tests.adapters.fake_prometheus import FakePrometheus, shop
from tests.one_service import one_service

Call = Callable[..., int]
Spawn = Callable[..., "Governor"]


def scenario(seconds: int, low: int, workers: int = 2) -> Scenario:
    """One service of 2 x `workers` / 40 ms; 20 requests/s of high priority and `low` of low."""
    loads = f"[[{seconds}, 20]]", f"[[{seconds}, {low}]]"
    text = one_service("small", seconds, *loads, service_time_s=0.04, latency_s=0.5, workers=workers)
    return parse_scenario(text, Path("small.yaml"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run the command line in this process and in an empty directory; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GOVERNOR_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["governor", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return code if isinstance(code, int) else 0

    return run


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    """A Prometheus that knows a small mesh, with samples of now."""
    now = time.time()
    with FakePrometheus("envoy", shop(now)) as server:
        server.now = now
        yield server


class Governor:
    """`governor` as a process of its own."""

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        self.errors = directory / "stderr.txt"
        self.output = directory / "stdout.txt"
        with self.errors.open("wb") as err, self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "governor", *arguments], cwd=directory, stdout=out, stderr=err
            )

    def until(self, seen: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until `seen()`; the process must live on."""
        deadline = time.monotonic() + seconds
        while not seen():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> int:
        """Send a signal; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start `governor` with these arguments; ended with the test."""
    started: list[Governor] = []

    def start(*arguments: str) -> Governor:
        started.append(Governor(arguments, tmp_path))
        return started[-1]

    yield start
    for governor in started:
        if governor.process.poll() is None:
            governor.process.kill()
        governor.process.wait()
