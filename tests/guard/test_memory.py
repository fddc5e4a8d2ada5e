"""Wishes are counted while they stand, and carried over by name; writes are never forgotten."""

from __future__ import annotations

import numpy as np

from governor.domain import MeshIndex
from governor.guard.memory import FLAP_WINDOW, GuardMemory, Turned, Written
from governor.knobs import Direction, Knob, Target, TargetKind

from .small_mesh import Law, edges, limits, mesh, proposals

LOOSEN, TIGHTEN, SHIFT = Direction.LOOSEN, Direction.TIGHTEN, Direction.SHIFT


def stood(memory: GuardMemory, knob: Knob = Knob.TIMEOUT) -> list[int]:
    """How long each row's wish has stood."""
    return memory.standing[knob].wished_for.tolist()


def wish(memory: GuardMemory, index: MeshIndex, *rows: int, direction: Direction = TIGHTEN) -> GuardMemory:
    return memory.with_wishes(proposals(Law(index, rows, direction=direction)), index)


def test_a_wish_is_counted_while_it_stands_and_starts_anew_when_it_was_gone() -> None:
    index = edges(2)
    memory = wish(wish(GuardMemory(), index, 0, 1), index, 0)
    assert stood(memory) == [2, 0]
    assert stood(wish(memory, index, 0, 1)) == [3, 1]


def test_a_wish_that_turns_round_starts_anew() -> None:
    index = edges(1)
    memory = wish(wish(GuardMemory(), index, 0), index, 0, direction=LOOSEN)
    assert stood(memory) == [1]
    assert stood(wish(memory, index, 0, direction=LOOSEN)) == [2]


def test_knobs_are_counted_apart_and_on_apis_by_their_rows() -> None:
    index = mesh("e0", "e1", apis=("a", "b", "c"))
    wished = proposals(Law(index, [1]), limits(index, [2]))
    memory = GuardMemory().with_wishes(wished, index)
    assert stood(memory) == [0, 1]
    assert stood(memory, Knob.RATE_LIMIT) == [0, 0, 1]
    assert stood(memory, Knob.WEIGHTS) == [0, 0]


def test_the_old_memory_stays_as_it_was() -> None:
    index = edges(1)
    before = wish(GuardMemory(), index, 0)
    after = wish(before, index, 0).with_writes(
        [Written((Target(TargetKind.EDGE, "e0"), Knob.TIMEOUT), SHIFT, 5.0)]
    )
    assert stood(before) == [1]
    assert not np.isfinite(before.standing[Knob.TIMEOUT].last_write[0])
    assert after.standing[Knob.TIMEOUT].last_write[0] == 5.0


def test_a_new_index_keeps_wishes_by_name() -> None:
    old, new = mesh("a", "b", "c"), mesh("b", "new", "c", "z", apis=("shop", "more"))
    memory = GuardMemory()
    for rows in ([0, 1, 2], [0, 1], [0, 1]):
        memory = wish(memory, old, *rows)
    assert stood(memory) == [3, 3, 0]
    memory = memory.over(new)
    assert stood(memory) == [3, 0, 0, 0]
    assert stood(wish(memory, new, 0, 1)) == [4, 1, 0, 0]
    assert stood(memory, Knob.RATE_LIMIT) == [0, 0]


def test_an_index_of_the_same_names_changes_nothing() -> None:
    memory = wish(GuardMemory(), edges(3), 1)
    assert memory.over(edges(3)).standing is memory.standing


def test_a_target_that_was_gone_still_has_its_writes() -> None:
    key = (Target(TargetKind.EDGE, "b"), Knob.TIMEOUT)
    memory = wish(GuardMemory(), mesh("a", "b"), 0)
    memory = memory.with_writes([Written(key, d, 7.0) for d in (TIGHTEN, LOOSEN, TIGHTEN, LOOSEN)])
    memory = wish(memory, mesh("a"), 0)
    assert stood(memory) == [2]
    back = wish(memory, mesh("c", "b"), 0)
    assert back.standing[Knob.TIMEOUT].last_write.tolist() == [-np.inf, 7.0]
    assert back.standing[Knob.TIMEOUT].flapping.tolist() == [False, True]
    assert back.of(*key).flapping


def test_writes_of_targets_that_the_index_does_not_name_are_kept_by_name_only() -> None:
    key = (Target(TargetKind.EDGE, "elsewhere"), Knob.TIMEOUT)
    memory = GuardMemory().over(edges(1)).with_writes([Written(key, TIGHTEN, 3.0)])
    assert memory.of(*key) == Turned(3.0, (-1,))
    assert not np.isfinite(memory.standing[Knob.TIMEOUT].last_write).any()


def test_writes_before_any_frame_are_kept() -> None:
    key = (Target(TargetKind.EDGE, "e0"), Knob.TIMEOUT)
    memory = GuardMemory().with_writes([Written(key, TIGHTEN, 3.0)])
    assert memory.over(edges(1)).standing[Knob.TIMEOUT].last_write.tolist() == [3.0]


def test_flapping_is_three_turns_within_the_last_ten_writes() -> None:
    def after(*directions: Direction) -> bool:
        turned = Turned()
        for direction in directions:
            turned = turned.again(direction, 0.0)
        return turned.flapping

    assert not after(TIGHTEN, LOOSEN, TIGHTEN)
    assert after(TIGHTEN, LOOSEN, TIGHTEN, LOOSEN)
    assert not after(TIGHTEN, SHIFT, TIGHTEN, SHIFT)
    assert after(TIGHTEN, LOOSEN, TIGHTEN, *[LOOSEN] * (FLAP_WINDOW - 3))
    assert not after(TIGHTEN, LOOSEN, TIGHTEN, *[LOOSEN] * FLAP_WINDOW)
