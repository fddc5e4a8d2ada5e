"""A server of the bed: started, waited for, stopped, paused; it never outlives the nursery it is started in."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from governor.errors import LabError
from governor.lab.bed.programs import Program, binary
from governor.lab.envoy_process import tail
from governor.lab.processes import GRACE_S, Child, Nursery, tied

ADDRESS = "127.0.0.1"
DOMAIN = "cluster.local"
"""The cluster's, which the names of services end with."""
READY_S = 60.0
_ASK_S = 0.05
"""Pause between two questions whether it is ready."""


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


class Startable(ABC):
    """What runs from start() to stop(), as often as wanted, or for as long as a `with` lasts."""

    @abstractmethod
    def start(self) -> None:
        """Start it (again), and wait until it is ready; LabError if it does not start."""

    @abstractmethod
    def stop(self) -> None:
        """End it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass
class Daemon:
    """A process of one of the bed's programs, started as often as wanted; its log is below `directory`."""

    program: Program
    nursery: Nursery
    arguments: Sequence[str]
    directory: Path
    ready: Callable[[], bool]
    """Asked again and again after the start; False or OSError: not yet."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of our own."""
    graceful: bool = True
    """Is it asked to end before it is killed?"""
    _child: Child | None = None

    @property
    def name(self) -> str:
        """The program's."""
        return self.program.name

    @property
    def log(self) -> Path:
        """Where it writes what it has to say; each start goes on at its end."""
        return self.directory / f"{self.name}.log"

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now."""
        return None if self._child is None or self._child.poll() is not None else self._child.pid

    def start(self) -> None:
        """Start it, and wait until it is ready; LabError with the last lines of its log if it is not."""
        if self.process_id is not None:
            raise LabError(f"{self.name} is already running (pid {self.process_id})")
        command = tied([str(binary(self.program)), *self.arguments])
        self._child = self.nursery.start(command, self.log, pipes=False, environment=self.environment)
        try:
            self._await(time.monotonic() + READY_S)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; does nothing if it is not running."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.send_signal(signal.SIGCONT)
        if self.graceful:
            self._child.terminate()
            try:
                self._child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
        else:
            self._child.kill()
        self._child.wait()

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is None or self._child.poll() is not None:
            raise LabError(f"{self.name} is not running")
        self._child.send_signal(number)

    def _await(self, until: float) -> None:
        while not self._is_ready():
            if self.process_id is None:
                raise LabError(f"{self.name} ended before it was ready:\n{tail(self.log)}")
            if time.monotonic() > until:
                raise LabError(f"{self.name} was not ready after {READY_S:g} s:\n{tail(self.log)}")
            time.sleep(_ASK_S)

    def _is_ready(self) -> bool:
        try:
            return self.ready()
        except OSError:
            return False


def answers(url: str) -> bool:
    """Does a GET of a plain HTTP page on loopback give 200? OSError if nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=2) as answer:
        return bool(answer.status == 200)
