"""Trials side by side: each lane has its own loopback address and runs one trial after another.

A trial in which the machine stood still is run again at once, whatever its figures; the least disturbed one
counts. A trial that fails is reported with what it said. Interrupting ends every trial and its lab,
and keeps what is finished.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from governor.errors import LabError
from governor.lab.envoy_process import tail
from tests.benchmarks.closed_loop.trial import Outcome, Trial, read_outcome, write_trial

NETWORK = "127.0.83"
"""Lane 1 listens on this with .1 after it, and so on."""
TRIAL = (sys.executable, "-m", "tests.benchmarks.closed_loop.trial")
OVERTIME_S = 60.0
"""How much longer than its scenario a trial may take."""
STALL_S = 0.3
"""A trial that the machine kept waiting for longer is run again ..."""
TRIES = 3
"""... until it was run this often, if nobody says otherwise."""
GRACE_S = 10.0
"""How long a trial that is told to end may take to end its lab."""


@dataclass(frozen=True, eq=False)
class Finished:
    """One trial that is over: with its outcome, or with why there is none."""

    trial: Trial
    outcome: Outcome | None
    failure: str
    took_s: float
    tries: int = 1


@dataclass
class Lanes:
    """`count` trials at once."""

    count: int
    network: str = NETWORK
    tries: int = TRIES
    command: tuple[str, ...] = TRIAL
    """Runs one trial; the trial's directory and the lane's address are appended."""
    _children: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: bool = False

    def run(self, trials: Iterable[Trial], on_finished: Callable[[Finished], None]) -> bool:
        """Run all trials in order, telling of each when it is over; False if interrupted before the end."""
        waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        total = 0
        for trial in trials:
            waiting.put(trial)
            total += 1
        finished: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        # A trial ends with the thread that started it, so that none outlives this process.
        threads = [
            threading.Thread(target=self._lane, args=(number, waiting, finished), name=f"lane-{number}")
            for number in range(1, self.count + 1)
        ]
        for thread in threads:
            thread.start()
        told = 0
        try:
            while told < total:
                on_finished(finished.get())
                told += 1
        except KeyboardInterrupt:
            self._stop_all(threads)
            while not finished.empty():
                done = finished.get()
                if done.outcome is not None:  # the others did not fail, they were ended
                    on_finished(done)
        finally:
            self._stop_all(threads)
        return told == total

    def _lane(
        self, number: int, waiting: queue.SimpleQueue[Trial], finished: queue.SimpleQueue[Finished]
    ) -> None:
        while not self._stop:
            try:
                trial = waiting.get_nowait()
            except queue.Empty:
                return
            finished.put(self._tried(trial, f"{self.network}.{number}"))

    def _tried(self, trial: Trial, address: str) -> Finished:
        best: Finished | None = None
        for tries in range(1, self.tries + 1):
            begun = time.monotonic()
            with TemporaryDirectory(prefix="governor-bench-") as home:
                try:
                    outcome = self._trial(trial, Path(home), address)
                except (OSError, ValueError, LabError) as error:
                    if best is not None:
                        return best
                    return Finished(trial, None, str(error), time.monotonic() - begun, tries)
            done = Finished(trial, outcome, "", time.monotonic() - begun, tries)
            if outcome.stall_s <= STALL_S or self._stop:
                return done
            if best is None or best.outcome is None or outcome.stall_s < best.outcome.stall_s:
                best = done
        assert best is not None
        return replace(best, tries=self.tries)

    def _trial(self, trial: Trial, home: Path, address: str) -> Outcome:
        write_trial(trial, home)
        log = home / "trial.log"
        command = [*self.command, str(home), address]
        with log.open("wb") as said:
            child = self._start(command, said.fileno())
            try:
                code = child.wait(trial.scenario.duration_s + OVERTIME_S)
            except subprocess.TimeoutExpired as error:
                _end(child)
                raise LabError(f"did not end within {OVERTIME_S:g} s after its scenario:\n{tail(log)}") from error
            finally:
                with self._lock:
                    self._children.discard(child)
        if code != 0:
            raise LabError(f"exit code {code}:\n{tail(log)}")
        return read_outcome(home)

    def _start(self, command: list[str], log: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stop:
                raise LabError("interrupted before it began")
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
            self._children.add(child)
            return child

    def _stop_all(self, threads: Sequence[threading.Thread]) -> None:
        with self._lock:
            self._stop = True
            for child in self._children:
                child.terminate()
        for thread in threads:
            thread.join()


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    child.kill()
    child.wait()
