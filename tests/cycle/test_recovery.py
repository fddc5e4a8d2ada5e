"""What a process left open is taken up by the next one."""

from __future__ import annotations

import pytest

from governor.cycle import cycle
from governor.errors import ControlPlaneError
from governor.knobs import InFlightCap, Knob
from governor.recovery import recover
from governor.turn import GovernorState

from .conftest import OPEN, WEB, Mesh, cap


def test_a_write_that_was_not_judged_is_judged_after_a_restart(mesh: Mesh) -> None:
    mesh.wishes = (cap(WEB, 20),)
    before = cycle(GovernorState(), mesh.ports, mesh.options).state
    state, notes = recover(mesh.ports)
    assert notes == ()
    assert [p.decision for p in state.pending] == [p.decision for p in before.pending]
    assert state.pending[0].hypothesis == before.pending[0].hypothesis
    assert state.memory.of(WEB, before.pending[0].receipt.knob).last_write == mesh.clock.time
    assert dict(state.baseline) == dict(before.baseline)
    mesh.wishes, mesh.source.errors = (), 50
    mesh.clock.time += 15
    (verdict,) = cycle(state, mesh.ports, mesh.options).verdicts
    assert not verdict.keep
    assert mesh.in_force == {WEB: OPEN}
    assert recover(mesh.ports)[0].pending == ()


def test_the_operators_own_values_are_known_after_a_restart(mesh: Mesh) -> None:
    knob = Knob.IN_FLIGHT_CAP
    mesh.wishes = (cap(WEB, 20),)
    state = cycle(GovernorState(), mesh.ports, mesh.options).state
    mesh.clock.time += 60
    mesh.wishes = ()
    state = cycle(state, mesh.ports, mesh.options).state
    mesh.wishes = (cap(WEB, 16, InFlightCap(20, 20)),)
    state = cycle(state, mesh.ports, mesh.options).state
    assert mesh.in_force == {WEB: InFlightCap(16, 16)}
    assert recover(mesh.ports)[0].baseline == state.baseline == {(WEB, knob): OPEN}
    # An operator sets another value, and the governor writes once more.
    mesh.plane.write(WEB, knob, InFlightCap(60, 60))
    mesh.clock.time += 60
    mesh.wishes = (cap(WEB, 50, InFlightCap(60, 60)),)
    cycle(recover(mesh.ports)[0], mesh.ports, mesh.options)
    assert recover(mesh.ports)[0].baseline == {(WEB, knob): InFlightCap(60, 60)}


def open_intent(mesh: Mesh) -> None:
    """As a kill between write and record leaves it."""
    mesh.wishes = (cap(WEB, 20),)
    result = cycle(GovernorState(), mesh.ports, mesh.options)
    (intent,) = mesh.ledger.find(result.decisions[0])[:1]
    mesh.ledger._entries[:] = [intent]


def test_an_open_intent_that_a_later_write_replaced_is_only_closed(mesh: Mesh) -> None:
    open_intent(mesh)
    mesh.clock.time += 60
    mesh.wishes = (cap(WEB, 25, InFlightCap(20, 20)),)
    later = cycle(GovernorState(), mesh.ports, mesh.options)
    assert len(later.receipts) == 1
    state, notes = recover(mesh.ports)
    assert notes == ()
    assert mesh.in_force == {WEB: InFlightCap(25, 25)}
    assert mesh.ledger.open_intents() == []
    assert mesh.ledger.kinds[-1] == ("verdict", "GOV308")
    assert [p.decision for p in state.pending] == list(later.decisions)


def test_a_value_that_cannot_be_put_back_is_an_error_that_names_the_decision(mesh: Mesh) -> None:
    open_intent(mesh)
    mesh.plane.broken = True
    with pytest.raises(ControlPlaneError, match=r"decision \w+-1-0 was perhaps written .*: Envoy is gone\."):
        recover(mesh.ports)
    assert len(mesh.ledger.open_intents()) == 1
    mesh.plane.broken = False
    _, notes = recover(mesh.ports)
    assert "was restored" in notes[0]
    assert mesh.in_force == {WEB: OPEN}
