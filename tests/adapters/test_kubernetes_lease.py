"""Two replicas never both hold a Lease, whatever is slow, lost, paused or deleted."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest

from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_lease import LeaseElector
from governor.errors import ControlPlaneError, NotLeader
from governor.settings import LeadershipSettings

TERMS = LeadershipSettings(lease_duration_s=15, renew_deadline_s=10.0, retry_period_s=2.0)


class FakeTime:
    """One true time; each replica's own clock is off by a constant of its own."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self, off: float) -> Callable[[], float]:
        return lambda: self.now + off


class FakeLeases:
    """One Lease with compare-and-swap. `on_the_way` is called with what happens before and after each request is
    judged, and may raise; `fail` makes every request fail.
    """

    def __init__(self) -> None:
        self.lease: Mapping[str, Any] | None = None
        self.version = 0
        self.fail: Exception | None = None
        self.on_the_way: Callable[[str], None] = lambda _: None

    def get(self) -> Mapping[str, Any] | None:
        self._passing("before get")
        found = self.lease
        self._passing("after get")
        return found

    def create(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        self._passing("before create")
        if self.lease is not None:
            raise ObjectChanged("it is there already")
        answer = self._store(spec)
        self._passing("after create")
        return answer

    def replace(self, lease: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
        self._passing("before replace")
        if self.lease is None:
            raise ObjectGone("it was deleted")
        if self.lease["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]:
            raise ObjectChanged("it was changed")
        answer = self._store(spec)
        self._passing("after replace")
        return answer

    def _store(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        self.version += 1
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": dict(spec)}
        return self.lease

    def _passing(self, where: str) -> None:
        if self.fail is not None:
            raise self.fail
        self.on_the_way(where)


def replica(leases: FakeLeases, time: FakeTime, name: str, off: float = 0.0) -> LeaseElector:
    return LeaseElector(leases, name, TERMS, time.clock(off))


def lead(elector: LeaseElector, time: FakeTime) -> None:
    """Make the first leader: the Lease that nobody holds must run out."""
    elector.attempt()
    time.now += TERMS.lease_duration_s
    elector.attempt()
    assert elector.held()


def test_the_first_replica_leads_after_one_lease_and_the_second_follows_it() -> None:
    time, leases = FakeTime(), FakeLeases()
    first, second = replica(leases, time, "first"), replica(leases, time, "second", off=-500.0)
    first.attempt()
    assert not first.held()
    lead(first, time)
    second.attempt()
    assert first.token() == 1
    with pytest.raises(NotLeader, match="the Lease is held by first"):
        second.check()


def test_renewals_keep_the_token_and_a_takeover_counts_on() -> None:
    time, leases = FakeTime(), FakeLeases()
    first, second = replica(leases, time, "first"), replica(leases, time, "second")
    lead(first, time)
    for _ in range(20):
        time.now += 2.0
        first.attempt()
        second.attempt()
    assert (first.token(), second.held()) == (1, False)
    time.now += 15.0
    second.attempt()
    assert (first.held(), second.token()) == (False, 2)
    first.attempt()
    with pytest.raises(NotLeader, match="held by second"):
        first.token()


def test_without_an_api_server_leadership_ends_before_another_may_begin_and_says_since_when() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    lead(first, time)
    leases.fail = ControlPlaneError("the API server does not answer")
    time.now += 9.0
    first.attempt()
    first.check()
    time.now += 3.0
    first.attempt()
    with pytest.raises(NotLeader, match=r"not been sure for 2\.0 s .* does not answer"):
        first.check()


def test_time_counts_from_before_the_request_was_sent() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    lead(first, time)

    def slow(where: str) -> None:
        if where == "after replace":
            time.now += 9.5

    leases.on_the_way = slow
    first.attempt()
    assert first.held()
    time.now += 0.5
    assert not first.held()


def test_who_lost_the_lease_and_gets_it_back_begins_a_new_term() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    lead(first, time)
    time.now += 60.0
    assert not first.held()
    first.attempt()
    assert first.token() == 2


def test_a_renewal_whose_answer_is_lost_costs_nothing_but_that_attempt() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    lead(first, time)

    def lose(where: str) -> None:
        if where == "after replace":
            raise ControlPlaneError("no answer")

    leases.on_the_way = lose
    first.attempt()
    leases.on_the_way = lambda _: None
    time.now += 2.0
    first.attempt()
    time.now += 9.0
    assert first.token() == 1


def test_an_edit_of_the_lease_by_somebody_else_does_not_end_a_term() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    lead(first, time)
    assert leases.lease is not None
    leases.replace(leases.lease, leases.lease["spec"])
    time.now += 2.0
    first.attempt()
    time.now += 9.0
    assert first.token() == 1


def test_a_leader_that_closes_is_followed_at_once() -> None:
    time, leases = FakeTime(), FakeLeases()
    first, second = replica(leases, time, "first"), replica(leases, time, "second")
    lead(first, time)
    first.close()
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == ""
    second.attempt()
    assert (first.held(), second.token()) == (False, 2)
    with pytest.raises(NotLeader, match="handed over"):
        first.check()


def test_a_follower_that_closes_leaves_the_lease_as_it_is() -> None:
    time, leases = FakeTime(), FakeLeases()
    first, second = replica(leases, time, "first"), replica(leases, time, "second")
    lead(first, time)
    second.attempt()
    second.close()
    assert leases.version == 2
    assert first.held()


def test_a_close_that_does_not_reach_the_server_is_an_error_and_ends_leadership_all_the_same() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    lead(first, time)
    leases.fail = ControlPlaneError("no answer")
    with pytest.raises(ControlPlaneError, match="no answer"):
        first.close()
    assert not first.held()


def test_a_fault_in_an_attempt_is_told_and_the_next_attempt_goes_on() -> None:
    time, leases = FakeTime(), FakeLeases()
    first = replica(leases, time, "first")
    leases.fail = ValueError("half an answer")
    first.attempt()
    with pytest.raises(NotLeader, match="half an answer"):
        first.check()
    leases.fail = None
    lead(first, time)


def test_a_deleted_lease_ends_the_term_and_is_waited_for() -> None:
    time, leases = FakeTime(), FakeLeases()
    first, second = replica(leases, time, "first"), replica(leases, time, "second")
    lead(first, time)
    second.attempt()
    leases.lease = None
    second.attempt()
    time.now += 9.0
    assert first.held()
    second.attempt()
    assert not second.held()
    first.attempt()
    assert not first.held()
    time.now += 6.0
    second.attempt()
    assert second.token() == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"renew_deadline_s": 15.0}, "must be less than lease_duration_s"),
        ({"retry_period_s": 6.0}, "at least twice retry_period_s"),
        ({"lease_duration_s": 0}, "greater than or equal to 2"),
    ],
)
def test_times_that_do_not_fit_together_are_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LeadershipSettings(**given)  # type: ignore[arg-type]  # that is the point


class World:
    """Three replicas and one true time; what happens next is chance, also in the middle of a request.

    A replica that is in the middle of a request is paused while others act, as under SIGSTOP or a slow network.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        # In every other world somebody deletes the Lease now and then; terms are then not numbered through.
        self.kinds = ["attempt"] * 12 + ["wait"] * 8 + ["end", "end"] + ["delete"] * (seed % 2)
        self.time, self.leases = FakeTime(), FakeLeases()
        self.leases.on_the_way = self.on_the_way
        self.started = 0
        self.replicas: dict[str, LeaseElector] = {}
        for off in (0.0, -700.0, 12345.6):
            self.add(off)
        self.busy: list[str] = []
        self.last: tuple[str, float] | None = None
        self.tokens: dict[int, str] = {}
        self.led = 0
        self.deleted = False

    def add(self, off: float) -> None:
        self.started += 1
        name = f"replica {self.started}"
        self.replicas[name] = replica(self.leases, self.time, name, off)

    def on_the_way(self, where: str) -> None:
        for _ in range(self.chance.randint(0, 2)):
            self.step()
        if self.chance.random() < 0.1:
            raise ControlPlaneError(f"lost {where}")

    def step(self) -> None:
        kind = self.chance.choice(self.kinds)
        free = sorted(set(self.replicas) - set(self.busy))
        if kind == "wait":
            for _ in range(self.chance.randint(1, 40)):
                self.time.now += 0.5
                self.look()
        elif kind == "delete":
            self.leases.lease, self.deleted = None, True
        elif free:
            name = self.chance.choice(free)
            self.busy.append(name)
            if kind == "attempt":
                # As `attempt` does, which would also take what others find out meanwhile for a fault of its own.
                with suppress(ControlPlaneError):
                    self.replicas[name]._seek()
            else:
                self.end(name)
            self.busy.remove(name)
            self.look()

    def end(self, name: str) -> None:
        elector = self.replicas.pop(name)
        if self.last is not None and self.last[0] == name:
            self.last = None  # it is closed only when no write is under way
        with suppress(ControlPlaneError):
            elector.close()
        self.add(self.chance.choice([0.0, -700.0, 12345.6]))

    def look(self) -> None:
        leaders = {name: r.token() for name, r in self.replicas.items() if r.held()}
        assert len(leaders) <= 1, leaders
        self.led += len(leaders)
        for name, token in leaders.items():
            if self.last is not None and self.last[0] != name:
                assert self.time.now - self.last[1] >= TERMS.write_s, "an earlier leader's write may be under way"
            self.last = name, self.time.now
            if not self.deleted:
                assert token >= max(self.tokens, default=0)
                assert self.tokens.setdefault(token, name) == name


@pytest.mark.parametrize("first", range(0, 400, 40))
def test_at_no_interleaving_do_two_replicas_hold_it_or_share_a_token(first: int) -> None:
    led = 0
    for seed in range(first, first + 40):
        world = World(seed)
        for _ in range(60):
            world.step()
        led += world.led > 0
    assert led > 20
