"""Looks between two cycles: when they come, that they end, and that they never meet a cycle."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from governor.adapters.memory import MemoryLedger
from governor.policy import load_policies
from governor.runtime import governing as module
from governor.runtime.governing import Governing
from governor.runtime.leading import Leading
from governor.runtime.looking import looking
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import CutShort, CycleOptions, CycleResult, GovernorState, Ports
from tests.benchmarks.cycle import FrameClock, SyntheticSource
from tests.runtime.test_governing import instance as instance_of
from tests.runtime.test_leading import FakeLeadership

PATIENCE_S = 10.0


class Looks:
    """Counts them, and says when there were enough."""

    def __init__(self, enough: int) -> None:
        self.count, self._enough, self.reached = 0, enough, threading.Event()

    def __call__(self) -> None:
        self.count += 1
        if self.count >= self._enough:
            self.reached.set()


def test_looks_come_while_the_block_runs_and_end_with_it() -> None:
    looks = Looks(3)
    with looking(0.01, looks):
        assert looks.reached.wait(PATIENCE_S)
    seen = looks.count
    time.sleep(0.05)
    assert looks.count == seen
    assert "looking" not in {thread.name for thread in threading.enumerate()}


def test_none_comes_where_none_is_asked_for() -> None:
    looks = Looks(1)
    with looking(0.0, looks):
        time.sleep(0.05)
    assert looks.count == 0


def test_a_look_that_takes_long_spares_the_cpu() -> None:
    begun: list[float] = []

    def long() -> None:
        begun.append(time.monotonic())
        time.sleep(0.05)

    with looking(0.01, long):
        time.sleep(0.3)
    assert len(begun) == 1


def test_a_fault_ends_the_looks_and_is_told() -> None:
    failed = threading.Event()

    def broken() -> None:
        failed.set()
        raise ZeroDivisionError("a law")

    with capture_logs() as logs, looking(0.01, broken):
        assert failed.wait(PATIENCE_S)
    assert [line["log_level"] for line in logs] == ["error"]
    assert "fault of the governor itself" in logs[0]["event"]


class Instance:
    def __init__(self, leadership: FakeLeadership | None = None) -> None:
        self.metrics, self.status = GovernorMetrics("1", "enforce"), Status(15.0)
        ports = Ports(SyntheticSource([]), None, MemoryLedger(), FrameClock())
        options = CycleOptions(load_policies(["balanced"]), enforce=True)
        leading = Leading(leadership, ports, self.metrics, self.status) if leadership else None
        self.leading = leading
        self.governing = Governing(ports, lambda: options, self.metrics, self.status, leading=leading)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def look(*_: object) -> CycleResult | None:
        calls.append(1)
        return None

    monkeypatch.setattr(module, "look", look)
    return calls


def test_no_look_while_a_cycle_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, instance = counted(monkeypatch), Instance()
    begun, end = threading.Event(), threading.Event()

    def slow(*_: object) -> CycleResult:
        begun.set()
        assert end.wait(PATIENCE_S)
        raise CutShort("over", GovernorState())

    monkeypatch.setattr(module, "cycle", slow)
    cycle = threading.Thread(target=instance.governing.once)
    with capture_logs():
        cycle.start()
        assert begun.wait(PATIENCE_S)
        assert instance.governing.look() is None
        assert calls == []
        end.set()
        cycle.join()
        instance.governing.look()
    assert calls == [1]


def test_a_cycle_begins_with_what_the_look_before_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    governing, metrics, _ = instance_of(services=3)
    whole = governing.once()
    assert whole is not None
    early, seen = replace(whole, state=replace(whole.state, number=7)), []
    telling, told = threading.Event(), threading.Event()

    def cycle(state: GovernorState, *_: object) -> CycleResult:
        seen.append(state.number)
        raise CutShort("over", state)

    def slowly(*_: object) -> None:
        telling.set()
        assert told.wait(PATIENCE_S)

    monkeypatch.setattr(module, "look", lambda *_: early)
    monkeypatch.setattr(module, "cycle", cycle)
    monkeypatch.setattr(metrics, "decided", slowly)
    threads = [threading.Thread(target=call) for call in (governing.look, governing.once)]
    with capture_logs():
        threads[0].start()
        assert telling.wait(PATIENCE_S)
        threads[1].start()
        time.sleep(0.1)
        assert seen == [], "the look is not over yet"
        told.set()
        for thread in threads:
            thread.join()
    assert seen == [7]


def test_only_a_replica_that_leads_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    leadership = FakeLeadership()
    calls, instance = counted(monkeypatch), Instance(leadership)
    instance.governing.look()
    leadership.why = ""
    instance.governing.look()
    assert calls == [], "it has not taken over yet: the next cycle does"
    assert instance.leading is not None
    instance.leading.before(GovernorState(), CycleOptions(load_policies(["balanced"]), enforce=True))
    instance.governing.look()
    assert calls == [1]
    leadership.why = "the Lease is held by other"
    instance.governing.look()
    assert calls == [1]


def test_a_turn_that_is_cut_short_is_told_and_its_state_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    instance, states = Instance(), []

    def cut(state: GovernorState, *_: object) -> CycleResult | None:
        states.append(state.number)
        raise CutShort("the API server is gone", GovernorState(number=state.number + 1))

    monkeypatch.setattr(module, "look", cut)
    with capture_logs() as logs:
        instance.governing.look()
        instance.governing.look()
    assert states == [0, 1]
    assert [line["error"] for line in logs] == ["the API server is gone"] * 2
