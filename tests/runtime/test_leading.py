"""What a replica does before each cycle, leading or following."""

from __future__ import annotations

from dataclasses import replace

import pytest

from governor.adapters.memory import MemoryLedger
from governor.errors import NotLeader
from governor.knobs import InFlightCap, Knob, Target, TargetKind
from governor.policy import load_policies
from governor.runtime.leading import Leading
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import CycleOptions, GovernorState, Ports
from tests.benchmarks.cycle import FrameClock, SyntheticSource


class FakeLeadership:
    """Held as the test says."""

    def __init__(self) -> None:
        self.why = "the Lease is held by other"

    def held(self) -> bool:
        return not self.why

    def token(self) -> int:
        self.check()
        return 7

    def check(self) -> None:
        if self.why:
            raise NotLeader(self.why)

    def close(self) -> None:
        self.why = "closed"


class Replica:
    def __init__(self) -> None:
        self.leadership = FakeLeadership()
        self.metrics, self.status = GovernorMetrics("1", "enforce"), Status(15.0)
        ports = Ports(SyntheticSource([]), None, MemoryLedger(), FrameClock())
        self.leading = Leading(self.leadership, ports, self.metrics, self.status)

    def before(self, state: GovernorState) -> tuple[GovernorState, CycleOptions]:
        options = CycleOptions(load_policies(["balanced"]), enforce=True)
        return self.leading.before(state, options)

    @property
    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("governor_leader")


@pytest.fixture
def replica() -> Replica:
    return Replica()


KNOWN = GovernorState(baseline={(Target(TargetKind.EDGE, "a|b"), Knob.IN_FLIGHT_CAP): InFlightCap(5, None)})


def test_a_follower_recommends_keeps_what_it_knows_and_says_whom_it_follows(replica: Replica) -> None:
    state, options = replica.before(KNOWN)
    assert state is KNOWN
    assert not options.enforce
    assert replica.status.following == "the Lease is held by other"
    assert replica.gauge == 0.0


def test_a_leader_enforces(replica: Replica) -> None:
    replica.leadership.why = ""
    _, options = replica.before(GovernorState())
    assert options.enforce
    assert replica.status.following == ""
    assert replica.gauge == 1.0


def test_the_gauge_follows_leadership_between_cycles(replica: Replica) -> None:
    replica.leadership.why = ""
    replica.before(GovernorState())
    replica.leadership.why = "asleep for too long"
    assert replica.gauge == 0.0


def test_who_no_longer_leads_leaves_what_was_written_to_the_next_leader(replica: Replica) -> None:
    replica.leadership.why = ""
    replica.before(GovernorState())
    replica.leadership.why = "the Lease is held by other"
    led = replace(KNOWN, number=12)
    state, options = replica.before(led)
    assert (dict(state.baseline), state.pending, state.number) == ({}, (), 12)
    assert not options.enforce
    assert replica.before(KNOWN)[0] is KNOWN
