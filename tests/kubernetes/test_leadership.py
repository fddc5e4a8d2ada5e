"""Two replicas on a real API server that stops, hangs and is slow, or one that sleeps: one at a time writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.adapters.kubernetes_lease import uptime
from governor.lab.bed.kubernetes import KubernetesBed
from tests.kubernetes.slow_proxy import SlowProxy

REPLICA = Path(__file__).parent / "replica.py"
LEASE_S = 3.0
"""Duration of the Lease in replica.py."""
PATIENCE_S = 30.0


class Replica:
    """One process of replica.py."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self._log = name, process, log
        self._fell_asleep: list[float] = []

    def rows(self) -> list[dict[str, Any]]:
        whole = self._log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def writes(self) -> list[dict[str, Any]]:
        """What the server took, and when at the latest (`taken`)."""
        return [row | {"taken": self._taken(row)} for row in self.rows() if "version" in row]

    def _taken(self, row: Mapping[str, Any]) -> float:
        # Who falls asleep in the middle of a write is told of it when it wakes up, long after the server took it.
        slept = any(row["begun"] <= asleep <= row["answered"] for asleep in self._fell_asleep)
        return float(row["begun"] if slept else row["answered"])

    def looks(self) -> None:
        """Return once it has looked at the Lease."""
        until(lambda: bool(self.rows()), f"{self.name} looks")

    def goes_on(self) -> None:
        """Return once it has written three times more."""
        before = len(self.writes())
        until(lambda: len(self.writes()) >= before + 3, f"{self.name} writes")

    def signal(self, number: signal.Signals) -> None:
        if number == signal.SIGSTOP:
            self._fell_asleep.append(uptime())
        os.kill(self.process.pid, number)


class Replicas:
    """Two replicas, as each process is started; the first leads before the second begins."""

    def __init__(self, bed: KubernetesBed, namespace: str, folder: Path, stack: ExitStack) -> None:
        self._bed, self._namespace, self._folder, self._stack = bed, namespace, folder, stack
        self.all: list[Replica] = []
        written = {"apiVersion": "v1", "kind": "ConfigMap"}
        bed.api.apply({**written, "metadata": {"name": "written", "namespace": namespace}})

    def start(self, name: str, way: Path | None = None) -> Replica:
        """`way`: kubeconfig of another way to the API server, for writes and for the Lease."""
        log = self._folder / f"{name}.jsonl"
        log.touch()
        kubeconfigs = [str(self._bed.kubeconfig), str(way or self._bed.kubeconfig)]
        command = [sys.executable, str(REPLICA), *kubeconfigs, self._namespace, name, str(log)]
        replica = Replica(name, self._stack.enter_context(running(command)), log)
        self.all.append(replica)
        return replica

    def never_both(self) -> list[str]:
        """The names of those who wrote, one for each term, in the order in which the server took the writes."""
        for replica in self.all:
            assert replica.process.poll() in {None, 0}
        writes = sorted((row for r in self.all for row in r.writes()), key=lambda row: row["version"])
        terms = [list(rows) for _, rows in groupby(writes, key=lambda row: (row["by"], row["token"]))]
        for earlier, later in pairwise(terms):
            assert earlier[0]["token"] < later[0]["token"]
            assert max(row["taken"] for row in earlier) < min(row["begun"] for row in later)
        return [rows[0]["by"] for rows in terms]


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def until(what: Callable[[], bool], said: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, f"{said}: not within {PATIENCE_S:g} s"
        time.sleep(0.05)


@pytest.fixture
def replicas(bed: KubernetesBed, namespace: str, tmp_path: Path) -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(bed, namespace, tmp_path, stack)


@pytest.fixture
def two(replicas: Replicas) -> tuple[Replica, Replica]:
    first = replicas.start("first")
    first.goes_on()
    second = replicas.start("second")
    second.looks()
    first.goes_on()
    return first, second


def test_a_process_that_sleeps_longer_than_its_lease_writes_nothing_when_it_wakes_up(
    two: tuple[Replica, Replica], replicas: Replicas
) -> None:
    first, second = two
    first.signal(signal.SIGSTOP)
    asleep = uptime()
    second.goes_on()
    first.signal(signal.SIGCONT)
    second.goes_on()
    time.sleep(LEASE_S)
    second.goes_on()
    # One that was under way is only told of when it wakes up.
    assert [write for write in first.writes() if write["begun"] > asleep] == []
    assert replicas.never_both() == ["first", "second"]


def test_sleeping_in_turn_they_take_turns(two: tuple[Replica, Replica], replicas: Replicas) -> None:
    first, second = two
    for leader, other in ((first, second), (second, first)):
        leader.signal(signal.SIGSTOP)
        other.goes_on()
        leader.signal(signal.SIGCONT)
        other.goes_on()
    assert replicas.never_both() == ["first", "second", "first"]


def test_a_replica_that_is_told_to_end_hands_over(two: tuple[Replica, Replica], replicas: Replicas) -> None:
    first, second = two
    first.signal(signal.SIGTERM)
    second.goes_on()
    assert replicas.never_both() == ["first", "second"]
    assert first.process.wait(PATIENCE_S) == 0


def test_an_api_server_that_is_stopped_and_started_again(
    bed: KubernetesBed, two: tuple[Replica, Replica], replicas: Replicas
) -> None:
    bed.api_server.stop()
    time.sleep(LEASE_S + 1.0)
    written = [len(r.writes()) for r in two]
    bed.api_server.start()
    until(lambda: sum(len(r.writes()) for r in two) > sum(written) + 10, "one of them writes again")
    time.sleep(LEASE_S)
    assert len(replicas.never_both()) >= 2


def test_an_api_server_that_hangs_and_goes_on(
    bed: KubernetesBed, two: tuple[Replica, Replica], replicas: Replicas
) -> None:
    bed.api_server.pause()
    time.sleep(LEASE_S + 1.0)
    written = [len(r.writes()) for r in two]
    bed.api_server.resume()
    until(lambda: sum(len(r.writes()) for r in two) > sum(written) + 10, "one of them writes again")
    time.sleep(LEASE_S)
    replicas.never_both()


def test_who_cannot_reach_the_server_in_time_loses_the_lease_and_its_late_write_is_refused(
    bed: KubernetesBed, replicas: Replicas, tmp_path: Path
) -> None:
    with SlowProxy(bed.port) as proxy:
        config = yaml.safe_load(bed.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        through = tmp_path / "through.kubeconfig"
        through.write_text(yaml.safe_dump(config))
        first = replicas.start("first", through)
        first.goes_on()
        second = replicas.start("second")
        second.looks()
        first.goes_on()
        proxy.delay_s = LEASE_S + 2.0
        second.goes_on()
        until(lambda: any("was changed meanwhile" in row.get("failed", "") for row in first.rows()), "a refusal")
        proxy.delay_s = 0.0
        second.goes_on()
        assert replicas.never_both() == ["first", "second"]


def test_a_lease_that_is_deleted_by_hand_is_followed_by_a_new_term_and_not_by_two_leaders(
    bed: KubernetesBed, two: tuple[Replica, Replica], replicas: Replicas, namespace: str
) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    bed.api.delete({**lease, "metadata": {"name": "lease", "namespace": namespace}})
    deleted = sum(len(r.writes()) for r in two)
    until(lambda: sum(len(r.writes()) for r in two) > deleted + 20, "one of them writes again")
    until(lambda: len(replicas.never_both()) == 2, "a second term")


def test_a_replica_that_is_told_to_end_leaves_a_lease_that_nobody_holds(
    bed: KubernetesBed, replicas: Replicas, namespace: str
) -> None:
    only = replicas.start("only")
    only.goes_on()
    only.signal(signal.SIGTERM)
    assert only.process.wait(PATIENCE_S) == 0
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    spec = bed.api.get({**lease, "metadata": {"name": "lease", "namespace": namespace}})["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("", 1)
