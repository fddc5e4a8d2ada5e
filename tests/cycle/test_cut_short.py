"""A cycle that cannot go on keeps what it has done: nothing is judged twice, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from governor.cycle import cycle
from governor.errors import ControlPlaneError
from governor.explain.values import in_words
from governor.knobs import InFlightCap
from governor.runtime.governing import Governing
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import BlindCycle, CutShort, GovernorState

from .conftest import DB, OPEN, WEB, Mesh, cap


def written(mesh: Mesh) -> GovernorState:
    """The state after a cycle that wrote a cap of 20 on the first edge."""
    mesh.wishes = (cap(WEB, 20),)
    state = cycle(GovernorState(), mesh.ports, mesh.options).state
    assert mesh.in_force == {WEB: InFlightCap(20, 20)}
    mesh.wishes = ()
    mesh.clock.time += 15
    return state


def test_an_undo_is_kept_when_the_settings_cannot_be_read_afterwards(mesh: Mesh) -> None:
    state = written(mesh)
    mesh.source.errors = 50
    mesh.plane.unreadable = True
    with pytest.raises(CutShort, match="is not JSON") as cut:
        cycle(state, mesh.ports, mesh.options)
    assert mesh.in_force == {WEB: OPEN}
    assert cut.value.state.pending == ()
    mesh.plane.unreadable = False
    result = cycle(cut.value.state, mesh.ports, mesh.options)
    assert result.verdicts == ()
    assert result.state.number == 3
    assert mesh.ledger.kinds == [("intent", "GOV102"), ("receipt", "GOV102"), ("verdict", "GOV302")]


def test_a_fault_of_a_law_keeps_what_was_settled_and_is_counted(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = written(mesh)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a law")

    governing = Governing(mesh.ports, lambda: mesh.options, GovernorMetrics("1", "enforce"), Status(5.0), state)
    with monkeypatch.context() as patch:
        patch.setattr("governor.cycle.decide", broken)
        with pytest.raises(CutShort) as cut:
            governing.once()
        assert isinstance(cut.value.__cause__, ZeroDivisionError)
    result = governing.once()
    assert result is not None
    assert result.verdicts == ()
    assert [kind for kind, _ in mesh.ledger.kinds].count("verdict") == 1


def test_governing_goes_on_from_the_kept_state(mesh: Mesh) -> None:
    status = Status(5.0)
    governing = Governing(
        mesh.ports, lambda: mesh.options, GovernorMetrics("1", "enforce"), status, written(mesh)
    )
    mesh.plane.unreadable = True
    assert governing.once() is None
    assert status.snapshot.last_error == "ControlPlaneError: rtds.json is not JSON"
    mesh.plane.unreadable = False
    result = governing.once()
    assert result is not None
    assert result.state.number == 3
    assert result.verdicts == ()


def test_what_cannot_be_recorded_is_not_written(mesh: Mesh) -> None:
    mesh.wishes = (cap(WEB, 20), cap(DB, 30))
    mesh.ledger.refuses = {"intent"}
    with pytest.raises(CutShort, match="the disk is full") as cut:
        cycle(GovernorState(), mesh.ports, mesh.options)
    assert mesh.plane.writes == []
    assert cut.value.state.pending == ()
    mesh.ledger.refuses = set()
    assert len(cycle(cut.value.state, mesh.ports, mesh.options).receipts) == 2


def test_a_write_whose_receipt_is_not_taken_is_taken_back_and_told_when_there_is_room(mesh: Mesh) -> None:
    mesh.wishes = (cap(WEB, 20), cap(DB, 30))
    mesh.ledger.refuses = {"receipt"}
    with pytest.raises(CutShort, match="the disk is full") as cut:
        cycle(GovernorState(), mesh.ports, mesh.options)
    assert mesh.in_force == {WEB: OPEN}
    assert cut.value.state.pending == ()
    assert len(mesh.ledger.open_intents()) == 1
    mesh.ledger.refuses, mesh.wishes = set(), ()
    assert cycle(cut.value.state, mesh.ports, mesh.options).state.owed == ()
    assert mesh.ledger.kinds == [("intent", "GOV102"), ("receipt", "GOV102"), ("verdict", "GOV309")]
    assert mesh.ledger.open_intents() == []


def test_while_the_ledger_is_full_what_fails_is_still_undone_and_owed(mesh: Mesh) -> None:
    state = written(mesh)
    mesh.source.errors = 50
    mesh.ledger.refuses = {"verdict", "cycle"}
    for _ in range(2):
        with pytest.raises(CutShort) as cut:
            cycle(state, mesh.ports, mesh.options)
        state = cut.value.state
        assert [e.code for e in state.owed] == ["GOV302"]
    assert mesh.plane.writes == [(WEB, InFlightCap(20, 20)), (WEB, OPEN)]
    mesh.source.down = True
    with pytest.raises(BlindCycle) as blind:
        cycle(state, mesh.ports, mesh.options)
    assert blind.value.state.owed == state.owed
    mesh.ledger.refuses = set()
    with pytest.raises(BlindCycle) as blind:
        cycle(state, mesh.ports, mesh.options)
    assert blind.value.state.owed == ()
    assert mesh.ledger.kinds[-1] == ("verdict", "GOV302")


def test_a_write_that_can_be_neither_recorded_nor_taken_back_is_judged_later(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.wishes = (cap(WEB, 20),)
    mesh.ledger.refuses = {"receipt"}
    append = mesh.ledger.append

    def breaks_the_plane_too(entries: object) -> None:
        mesh.plane.broken = mesh.plane.writes != []
        append(entries)  # type: ignore[arg-type]

    monkeypatch.setattr(mesh.ledger, "append", breaks_the_plane_too)
    with pytest.raises(CutShort) as cut:
        cycle(GovernorState(), mesh.ports, mesh.options)
    (pending,) = cut.value.state.pending
    assert pending.receipt.target == WEB
    monkeypatch.undo()
    mesh.wishes = ()
    mesh.ledger.refuses, mesh.plane.broken, mesh.source.errors = set(), False, 50
    mesh.clock.time += 15
    cycle(cut.value.state, mesh.ports, mesh.options)
    assert mesh.in_force == {WEB: OPEN}
    assert mesh.ledger.kinds == [("intent", "GOV102"), ("receipt", "GOV102"), ("verdict", "GOV302")]


def test_a_fault_of_the_control_plane_keeps_the_writes_before_it(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.wishes = (cap(WEB, 20), cap(DB, 30))
    write = mesh.plane.write

    def fails_on_the_second(*arguments: object) -> object:
        if mesh.plane.writes:
            raise IndexError("a fault of ours")
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mesh.plane, "write", fails_on_the_second)
    with pytest.raises(CutShort) as cut:
        cycle(GovernorState(), mesh.ports, mesh.options)
    assert [p.receipt.target for p in cut.value.state.pending] == [WEB]


def test_a_refused_write_stops_no_other(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh.wishes = (cap(WEB, 20), cap(DB, 30))
    write = mesh.plane.write

    def refuses_the_first(target: object, *rest: object) -> object:
        if target == WEB:
            raise ControlPlaneError("rejected")
        return write(target, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(mesh.plane, "write", refuses_the_first)
    result = cycle(GovernorState(), mesh.ports, mesh.options)
    assert mesh.in_force == {DB: InFlightCap(30, 30)}
    assert [h.reason.code for h in result.plan.held] == ["GOV307"]


def test_the_ledger_says_what_was_written_where_bounds_made_another_value_of_it(mesh: Mesh) -> None:
    mesh.wishes = (replace(cap(WEB, 5, InFlightCap(20, 20)), summary="in flight 20 -> 5"),)
    result = cycle(GovernorState(), mesh.ports, mesh.options)
    (receipt,) = result.receipts
    assert receipt.after != InFlightCap(5, 5)
    told = [e.summary for e in mesh.ledger.find(result.decisions[0])]
    assert all(text.endswith(f"default 20, high 20 -> {in_words(receipt.after)}") for text in told)
