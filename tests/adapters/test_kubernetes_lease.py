"""Leadership: whatever the order of rounds, pauses and lost requests, two replicas never both may write."""

from __future__ import annotations

import random
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest

from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_lease import LEASE, LeaseElector, LeaseTimes, seen_ago_s
from governor.adapters.kubernetes_objects import Body, Ref
from governor.errors import ControlPlaneError, NotLeader

REF = Ref(LEASE, "mesh-governor", "mesh-governor")
TIMES = LeaseTimes(15.0, 10.0, 2.0)


class FakeLeases:
    """One lease with compare-and-swap by resourceVersion."""

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.version = 0
        self.down = False
        self.loses_answers = False

    def get(self, ref: Ref) -> Body:
        self._answering()
        if self.body is None:
            raise ObjectGone("gone")
        return deepcopy(self.body)

    def create(self, ref: Ref, body: Body, manager: str) -> Body:
        self._answering()
        if self.body is not None:
            raise ObjectChanged("there is one")
        return self._store(body)

    def replace(self, ref: Ref, body: Body, manager: str) -> Body:
        self._answering()
        if self.body is None or body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            raise ObjectChanged("changed")
        return self._store(body)

    def _answering(self) -> None:
        if self.down:
            raise ControlPlaneError("no answer")

    def _store(self, body: Body) -> Body:
        self.version += 1
        self.body = deepcopy(dict(body))
        self.body["metadata"]["resourceVersion"] = str(self.version)
        if self.loses_answers:
            raise ControlPlaneError("the answer is lost")
        return deepcopy(self.body)


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_the_first_takes_it_and_the_second_follows() -> None:
    leases, clock = FakeLeases(), Clock()
    one, two = (LeaseElector(leases, REF, name, TIMES, clock) for name in ("one", "two"))
    one.step()
    two.step()
    assert one.held()
    assert not two.held()
    with pytest.raises(NotLeader, match="two does not hold"):
        two.check()


def test_a_lease_that_is_let_go_is_taken_at_once() -> None:
    leases, clock = FakeLeases(), Clock()
    one, two = (LeaseElector(leases, REF, name, TIMES, clock) for name in ("one", "two"))
    one.step()
    one.close()
    assert not one.held()
    two.step()
    assert two.held()
    assert two.transitions == 1


def test_a_holder_that_is_gone_is_followed_after_its_time_and_not_before() -> None:
    leases, clock = FakeLeases(), Clock()
    one, two = (LeaseElector(leases, REF, name, TIMES, clock) for name in ("one", "two"))
    one.step()
    two.step()
    clock.now = 15.0
    two.step()
    assert not two.held()
    clock.now = 15.1
    two.step()
    assert two.held()


def test_a_process_that_wakes_up_late_may_not_write() -> None:
    leases, clock = FakeLeases(), Clock()
    one = LeaseElector(leases, REF, "one", TIMES, clock)
    one.step()
    clock.now = 9.9
    one.check()
    clock.now = 10.0
    with pytest.raises(NotLeader):
        one.check()


def test_validity_counts_from_before_the_request_was_sent() -> None:
    clock = Clock()

    class Slow(FakeLeases):
        def replace(self, ref: Ref, body: Body, manager: str) -> Body:
            clock.now += 6.0
            return super().replace(ref, body, manager)

    one = LeaseElector(Slow(), REF, "one", TIMES, clock)
    one.step()
    one.step()  # sent at 0, answered at 6: holds until 10
    clock.now = 9.9
    assert one.held()
    clock.now = 10.0
    assert not one.held()


def test_a_leader_without_an_api_server_stops_writing() -> None:
    leases, clock = FakeLeases(), Clock()
    one = LeaseElector(leases, REF, "one", TIMES, clock)
    one.step()
    leases.down = True
    clock.now = 11.0
    with pytest.raises(ControlPlaneError):
        one.step()
    assert not one.held()


def test_how_long_ago_a_leader_was_seen() -> None:
    import datetime as dt

    now = dt.datetime(2026, 1, 1, 0, 1, tzinfo=dt.UTC)
    assert seen_ago_s({"spec": {"renewTime": "2026-01-01T00:00:30.000000Z"}}, now) == 30.0
    assert seen_ago_s({"spec": {}}, now) is None


@pytest.mark.parametrize("seed", range(60))
def test_two_never_both_may_write(seed: int) -> None:
    """Random rounds, pauses, outages and lost answers of three replicas whose clocks differ."""
    chance = random.Random(seed)
    leases = FakeLeases()
    clocks = [Clock(chance.uniform(0, 1e6)) for _ in range(3)]
    replicas = [LeaseElector(leases, REF, f"r{n}", TIMES, clock) for n, clock in enumerate(clocks)]
    paused_until = [0.0] * 3
    now, led = 0.0, 0
    for _ in range(3000):
        passed = chance.choice([0.1, 0.5, 1.0, 2.0])
        now += passed
        for clock in clocks:
            clock.now += passed
        number = chance.randrange(3)
        if chance.random() < 0.01:
            paused_until[number] = now + chance.uniform(0, 60)
        if chance.random() < 0.02:
            leases.down = not leases.down
        leases.loses_answers = chance.random() < 0.05
        if now >= paused_until[number]:
            with suppress(ControlPlaneError):
                replicas[number].step()
        holders = [replica for replica in replicas if replica.held()]
        assert len(holders) <= 1
        led += bool(holders)
    assert led > 300
