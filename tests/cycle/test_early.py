"""Between two cycles: away at once from a backend that has turned, once, and only where that may be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from governor.adapters.memory import MemoryControlPlane
from governor.cycle import cycle
from governor.domain import MeshFrame, MeshIndex
from governor.early import look
from governor.errors import ControlPlaneError, SourceUnreachable
from governor.knobs import BackendWeights, Knob, KnobState
from governor.policy import load_policies
from governor.ports import Entry, MetricSource
from governor.reasons import Reason
from governor.turn import CutShort, CycleOptions, CycleResult, GovernorState, Ports
from tests.decide.situations import frame, one

from .conftest import Clock, Full

POOL = one(pool=4)


class Plane(MemoryControlPlane):
    """Cannot be read when told so; counts how often it is."""

    def __init__(self) -> None:
        super().__init__(POOL)
        self.reads = 0
        self.broken = False

    def read(self, index: MeshIndex) -> KnobState:
        self.reads += 1
        if self.broken:
            raise ControlPlaneError("the API server is gone")
        return super().read(index)


class Glancing:
    """40 requests/s of 60 ms for each backend; the first one holds `flight` of them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.flight = 2.4
        self.index = POOL
        self.down = False
        self.glances = 0

    def observe(self, window_s: float) -> MeshFrame:
        flight = [self.flight, 2.4, 2.4, 2.4]
        seen = frame(self.index, edge={"rate": 160.0}, backend={"in_flight": flight}, window_s=window_s)
        return replace(seen, at=self.clock.time)

    def glance(self, window_s: float) -> MeshFrame | None:
        self.glances += 1
        if self.down:
            raise SourceUnreachable("nobody there")
        return self.observe(window_s)

    def close(self) -> None:
        pass


class World:
    """After one cycle in which all was well."""

    def __init__(self) -> None:
        self.clock, self.plane, self.ledger = Clock(), Plane(), Full()
        self.source = Glancing(self.clock)
        self.options = CycleOptions(load_policies(["balanced"]), enforce=True, period_s=5.0, window_s=5.0)
        self.ports = Ports(self.source, self.plane, self.ledger, self.clock)
        self.state = cycle(GovernorState(), self.ports, self.options).state
        self.plane.reads = 0

    def turn_slow(self) -> None:
        self.clock.time += 1.0
        self.source.flight = 25.0

    def look(self, **options: object) -> CycleResult | None:
        result = look(self.state, self.ports, replace(self.options, **options))  # type: ignore[arg-type]
        if result is not None:
            self.state = result.state
        return result

    def cycle(self) -> CycleResult:
        result = cycle(self.state, self.ports, self.options)
        self.state = result.state
        return result

    @property
    def share(self) -> float | None:
        """Of the first backend; None while nothing is set."""
        share = float(self.plane.read(POOL).weight[0])
        return None if np.isnan(share) else share


@pytest.fixture
def world() -> World:
    return World()


def entries(world: World, kind: str) -> Sequence[Entry]:
    """Of the weights, or of the cycle."""
    return [e for e in world.ledger.entries() if e.kind == kind and e.knob in ("weights", "")]


def test_while_all_is_well_a_look_is_no_turn_and_asks_the_control_plane_nothing(world: World) -> None:
    before = world.state
    assert world.look() is None
    assert world.source.glances == 1
    assert world.plane.reads == 0
    assert world.state is before


def test_one_that_turns_slow_loses_its_share_before_the_next_cycle(world: World) -> None:
    world.turn_slow()
    result = world.look()
    assert result is not None
    assert [r.knob for r in result.receipts] == [Knob.WEIGHTS]
    assert world.share == pytest.approx(0.005)
    assert world.state.number == 2
    written = result.receipts[0].after
    assert isinstance(written, BackendWeights)
    intent = entries(world, "intent")[0]
    assert intent.code == Reason.BACKEND_SLOW.code
    assert (intent.id, "receipt") in [(e.id, e.kind) for e in entries(world, "receipt")]
    assert "10.0.0.0 of client|web takes 625 ms" in intent.summary


def test_it_happens_once_a_period(world: World) -> None:
    world.turn_slow()
    assert world.look() is not None
    glances = world.source.glances
    world.clock.time += 4.9
    assert world.look() is None
    assert world.source.glances == glances
    world.clock.time += 0.2
    assert world.look() is not None, "the backend is still slow: another turn, in which nothing is left to move"
    assert len(entries(world, "receipt")) == 1


def test_a_clock_that_is_set_back_does_not_end_the_looks(world: World) -> None:
    world.turn_slow()
    assert world.look() is not None
    world.clock.time -= 3600.0
    assert world.look() is not None


def test_the_next_cycle_judges_nobody_by_the_window_in_which_the_share_moved(world: World) -> None:
    world.turn_slow()
    world.look()
    world.clock.time += 1.0
    world.source.flight = 0.1
    result = world.cycle()
    assert result.state.beliefs is not None
    assert result.state.beliefs.backends.attempts[0] == 0.0
    assert [r for r in result.receipts if r.knob is Knob.WEIGHTS] == []
    world.clock.time += 10.0
    again = world.cycle()
    assert again.state.beliefs is not None
    assert again.state.beliefs.backends.attempts[0] > 0.0
    assert [v.reason for v in again.verdicts if v.pending.receipt.knob is Knob.WEIGHTS] == [Reason.KEPT]


def test_what_the_other_laws_wish_stands_as_long_as_before(world: World) -> None:
    world.turn_slow()
    wishes = world.state.memory.over(POOL).standing[Knob.IN_FLIGHT_CAP].wished_for.tolist()
    world.look()
    assert world.state.memory.over(POOL).standing[Knob.IN_FLIGHT_CAP].wished_for.tolist() == wishes


@pytest.mark.parametrize("options", [{"enforce": False}, {"paused": True}])
def test_where_nothing_may_be_written_nobody_looks(world: World, options: dict[str, object]) -> None:
    world.turn_slow()
    assert world.look(**options) is None
    assert world.source.glances == 0


def test_weights_that_are_not_governed_stay(world: World) -> None:
    world.turn_slow()
    assert world.look(policies=load_policies(["observe-only"])) is None
    assert world.plane.reads == 0


def test_before_the_first_cycle_there_is_nothing_to_compare_with(world: World) -> None:
    world.turn_slow()
    assert look(GovernorState(), world.ports, world.options) is None


def test_a_source_that_measures_no_oftener_is_not_asked(world: World) -> None:
    class Plain:
        def observe(self, window_s: float) -> MeshFrame:
            return world.source.observe(window_s)

        def close(self) -> None:
            pass

    world.turn_slow()
    source: MetricSource = Plain()
    assert look(world.state, replace(world.ports, source=source), world.options) is None


def test_no_answer_is_left_to_the_cycle(world: World) -> None:
    world.turn_slow()
    world.source.down = True
    assert world.look() is None


def test_other_names_are_left_to_the_cycle(world: World) -> None:
    world.turn_slow()
    world.source.index = replace(POOL, backends=("10.0.0.9", *POOL.backends[1:]))
    assert world.look() is None
    assert world.plane.reads == 0


def test_a_control_plane_that_gives_out_cuts_the_turn_short_and_the_state_goes_on(world: World) -> None:
    world.turn_slow()
    world.plane.broken = True
    with pytest.raises(CutShort, match="API server is gone") as cut:
        world.look()
    assert cut.value.state.early_at == world.clock.time
    world.plane.broken = False
    assert world.share is None


def test_a_ledger_that_is_full_stops_the_write(world: World) -> None:
    world.turn_slow()
    world.ledger.refuses = {"intent"}
    with pytest.raises(CutShort, match="disk is full"):
        world.look()
    assert world.share is None


def test_the_names_of_turns_never_meet(world: World) -> None:
    world.turn_slow()
    world.look()
    world.clock.time += 1.0
    world.cycle()
    ids = [e.id for e in entries(world, "cycle")]
    assert len(ids) == len(set(ids)) == 3
    assert np.isfinite(world.state.early_at)
