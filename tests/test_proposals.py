"""Columns that stand for proposals: what is looked at is built, the rest is only counted."""

from __future__ import annotations

import numpy as np
import pytest

from governor.knobs import Direction, Hypothesis, Knob, Proposal, Target, TargetKind, Timeout
from governor.proposals import DIRECTIONS, REASONS, Batch, Line, Proposals, code, pick
from governor.reasons import Reason


def batch_of(*rows: int, built: list[int] | None = None, urgent: bool = False) -> Batch:
    """One timeout a row, as much traffic as its row says."""
    value = Timeout(1.0, None)

    def build(line: Line) -> Proposal:
        if built is not None:
            built.append(line.row)
        target = Target(TargetKind.EDGE, f"e{line.row}")
        more = ("", {}, Hypothesis("success_rate", 0.9, 30.0), line.confidence, line.traffic, line.urgent)
        return Proposal(target, Knob.TIMEOUT, value, value, value, line.direction, line.reason, *more)

    return Batch.of(
        Knob.TIMEOUT,
        np.array(rows, np.intp),
        build,
        direction=Direction.LOOSEN,
        reason=Reason.TIMEOUT_TOO_SHORT,
        urgent=urgent,
        traffic=np.array(rows, np.float64),
        confidence=0.75,
    )


def test_codes_are_positions_and_lead_back() -> None:
    assert [DIRECTIONS[code(d)] for d in Direction] == list(Direction)
    assert [REASONS[code(r)] for r in Reason] == list(Reason)


def test_pick_nests() -> None:
    first, second = np.array([True, False, False]), np.array([True, True, False])
    found = pick(first, Reason.STALE, pick(second, Reason.PAUSED, Reason.FREEZE))
    assert [REASONS[i] for i in found] == [Reason.STALE, Reason.PAUSED, Reason.FREEZE]


def test_a_line_says_what_the_columns_say() -> None:
    assert batch_of(3, 5).line(1) == Line(
        row=5,
        direction=Direction.LOOSEN,
        reason=Reason.TIMEOUT_TOO_SHORT,
        urgent=False,
        traffic=5.0,
        confidence=0.75,
    )


def test_only_what_is_looked_at_is_built() -> None:
    built: list[int] = []
    all_of = Proposals([batch_of(*range(100), built=built), batch_of(7, 8, built=built)])
    assert len(all_of) == 102
    assert not built
    assert all_of[100].target.name == "e7"
    assert [p.target.name for p in all_of[98:101]] == ["e98", "e99", "e7"]
    assert all_of[-1].target.name == "e8"
    assert built == [7, 98, 99, 7, 8]
    assert [p.target.name for p in all_of] == [f"e{i}" for i in [*range(100), 7, 8]]


@pytest.mark.parametrize("at", [2, -3])
def test_a_position_outside_is_an_index_error(at: int) -> None:
    with pytest.raises(IndexError):
        Proposals([batch_of(0, 1)])[at]


def test_laws_that_say_nothing_leave_no_trace() -> None:
    nothing = Proposals([Batch.none(Knob.RATE_LIMIT), Batch.none(Knob.WEIGHTS)])
    assert len(nothing) == 0
    assert list(nothing) == []
    assert nothing.batches == ()
    assert len(nothing.most_protecting_first()) == 0


def test_pieces_say_where_each_batch_lies() -> None:
    first, second = batch_of(0, 1, 2), batch_of(4)
    pieces = Proposals([first, Batch.none(Knob.WEIGHTS), second]).pieces()
    assert pieces == [(first, slice(0, 3)), (second, slice(3, 4))]


def test_most_protecting_first_over_all_batches() -> None:
    order = Proposals([batch_of(1, 9), batch_of(2, 3, urgent=True), batch_of(9)]).most_protecting_first()
    assert order.tolist() == [3, 2, 1, 4, 0]
