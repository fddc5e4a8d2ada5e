from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from governor.commands.undoing import put_back
from governor.errors import ControlPlaneError, LedgerError
from governor.knobs import InFlightCap, Knob, Target, TargetKind
from governor.ports import Entry


class Plane:
    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.writes: list[tuple[Target, Knob, Any]] = []

    def write(self, target: Target, knob: Knob, value: Any) -> None:
        if self.fails:
            raise ControlPlaneError("no")
        self.writes.append((target, knob, value))


class Lines:
    def __init__(self, *receipts: Entry) -> None:
        self.kinds: list[tuple[str, str]] = []
        self.receipts = receipts

    def entries(self, **_: Any) -> Sequence[Entry]:
        return self.receipts

    def append(self, entries: Sequence[Entry]) -> None:
        self.kinds += [(e.kind, e.code) for e in entries]


def entry(kind: str, body: dict[str, Any]) -> Entry:
    return Entry("d1", 0.0, 1, kind, "edge/a>b", "in-flight-cap", "GOV103", "", body)


RECEIPT = entry("receipt", {"before": {"default": 40, "high": None}, "after": {"default": 20, "high": None}})


def test_the_value_from_before_is_written_and_recorded() -> None:
    plane, lines = Plane(), Lines()
    text = put_back([entry("intent", {}), RECEIPT], plane, lines, 5.0)  # type: ignore[arg-type]
    assert plane.writes == [(Target(TargetKind.EDGE, "a>b"), Knob.IN_FLIGHT_CAP, InFlightCap(40, None))]
    assert lines.kinds == [("note", "GOV304"), ("verdict", "GOV304")]
    assert "default 40" in text


def test_a_refused_undo_is_not_recorded_as_done() -> None:
    lines = Lines()
    with pytest.raises(ControlPlaneError):
        put_back([RECEIPT], Plane(fails=True), lines, 5.0)  # type: ignore[arg-type]
    assert lines.kinds == [("note", "GOV304")]


def test_a_write_that_was_killed_before_its_receipt_can_be_undone() -> None:
    plane = Plane()
    put_back([entry("intent", RECEIPT.body)], plane, Lines(), 5.0)  # type: ignore[arg-type]
    assert [value for _, _, value in plane.writes] == [InFlightCap(40, None)]


def test_what_was_decided_since_is_named() -> None:
    later = replace(RECEIPT, id="d2", at=3.0)
    elsewhere = replace(RECEIPT, id="d3", at=4.0, target="edge/c>d")
    text = put_back([RECEIPT], Plane(), Lines(elsewhere, later, RECEIPT), 5.0)  # type: ignore[arg-type]
    assert text.endswith("What was decided there since is gone with it: d2.")


@pytest.mark.parametrize(
    "entries",
    [
        [entry("note", {})],
        [entry("receipt", {})],
        [entry("intent", RECEIPT.body), entry("verdict", {})],
    ],
)
def test_without_a_receipt_and_its_before_nothing_is_written(entries: list[Entry]) -> None:
    plane = Plane()
    with pytest.raises(LedgerError):
        put_back(entries, plane, Lines(), 5.0)  # type: ignore[arg-type]
    assert plane.writes == []
