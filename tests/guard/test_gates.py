"""Each gate holds what it must and lets the rest go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from governor.guard.gates import Conditions
from governor.guard.memory import GuardMemory, Written
from governor.guard.plan import make_plan
from governor.knobs import Direction, Knob, Target, TargetKind, Timeout
from governor.policy_view import Mode
from governor.reasons import Reason

from .small_mesh import FREE, NOW, PERIOD_S, Law, conditions, edges, frame_of, policy_of, proposals, rules

INDEX = edges(2)
E0 = (Target(TargetKind.EDGE, "e0"), Knob.TIMEOUT)


def outcome(at: Conditions, **law: Any) -> tuple[Reason | None, str]:
    """What becomes of one change on e0: the gate and its words, or None if it goes."""
    plan = make_plan(proposals(Law(INDEX, [0], **law)), at)
    assert len(plan.go) + len(plan.held) == 1
    return (None, "") if plan.go else (plan.held[0].reason, plan.held[0].detail)


def test_goes_where_no_gate_holds() -> None:
    assert outcome(conditions(INDEX)) == (None, "")


def test_a_target_that_no_policy_selects_is_held() -> None:
    at = conditions(INDEX, policy=policy_of(INDEX, [rules()], edge_rules=[-1, 0]))
    assert outcome(at) == (Reason.NOT_SELECTED, "")


@pytest.mark.parametrize(("age_s", "held"), [(20.0, False), (20.5, True)])
def test_stale_signals_hold_from_two_periods_on(age_s: float, held: bool) -> None:
    at = conditions(INDEX, frame=frame_of(INDEX, age_s))
    expected = (Reason.STALE, f"newest sample is {age_s:.0f} s old") if held else (None, "")
    assert outcome(at, urgent=True) == expected


@pytest.mark.parametrize(("confidence", "held"), [(0.6, False), (0.59, True)])
def test_signals_of_little_trust_hold(confidence: float, held: bool) -> None:
    expected = (Reason.LOW_TRUST, "trust 0.59 < 0.6") if held else (None, "")
    assert outcome(conditions(INDEX), confidence=confidence, urgent=True) == expected


def test_a_knob_that_is_off_is_held() -> None:
    at = conditions(INDEX, rules(replace(FREE, mode=Mode.OFF)))
    assert outcome(at) == (Reason.MODE_OFF, "policy free")


def test_a_suppressed_reason_is_held_and_another_is_not() -> None:
    at = conditions(INDEX, rules(suppress=frozenset({Reason.TIMEOUT_TOO_LONG.code})))
    assert outcome(at) == (Reason.SUPPRESSED, "policy free suppresses GOV131")
    assert outcome(at, reason=Reason.TIMEOUT_ORDER) == (None, "")


def test_pause_holds_even_what_is_urgent() -> None:
    assert outcome(conditions(INDEX, paused=True), urgent=True) == (Reason.PAUSED, "")


@pytest.mark.parametrize(("window", "held"), [((NOW, NOW + 1), True), ((NOW - 1, NOW), False)])
def test_a_freeze_holds_while_it_is_in_force(window: tuple[float, float], held: bool) -> None:
    expected = (Reason.FREEZE, "policy free") if held else (None, "")
    assert outcome(conditions(INDEX, rules(freeze=(window,))), urgent=True) == expected


def test_recommend_mode_of_the_instance_and_of_a_knob_hold() -> None:
    assert outcome(conditions(INDEX, enforce=False), urgent=True) == (
        Reason.MODE_RECOMMEND,
        "the governor runs in recommend mode",
    )
    at = conditions(INDEX, rules(replace(FREE, mode=Mode.RECOMMEND)))
    assert outcome(at, urgent=True) == (Reason.MODE_RECOMMEND, "policy free, timeout")


def after_write(at: float, *directions: Direction) -> GuardMemory:
    """The memory after writes on e0, the last one at `at`."""
    return GuardMemory().over(INDEX).with_writes([Written(E0, d, at) for d in directions])


@pytest.mark.parametrize(("ago_s", "held"), [(18.9, True), (19.1, False)])
def test_cool_down_holds_for_its_periods_less_a_tenth_of_one(ago_s: float, held: bool) -> None:
    at = conditions(INDEX, memory=after_write(NOW - ago_s, Direction.TIGHTEN))
    assert outcome(at) == ((Reason.COOL_DOWN, "20 s between writes") if held else (None, ""))
    assert outcome(at, urgent=True) == (None, "")


@pytest.mark.parametrize(("ago_s", "held"), [(38.9, True), (39.1, False)])
def test_a_flapping_knob_waits_twice_as_long(ago_s: float, held: bool) -> None:
    there_and_back = [Direction.TIGHTEN, Direction.LOOSEN] * 2
    at = conditions(INDEX, memory=after_write(NOW - ago_s, *there_and_back))
    assert outcome(at) == ((Reason.FLAPPING, "40 s between writes") if held else (None, ""))


def test_a_write_on_another_target_or_knob_does_not_hold() -> None:
    memory = GuardMemory().over(INDEX)
    elsewhere = [(Target(TargetKind.EDGE, "e1"), Knob.TIMEOUT), (E0[0], Knob.RETRIES)]
    memory = memory.with_writes([Written(key, Direction.TIGHTEN, NOW) for key in elsewhere])
    at = conditions(INDEX, memory=memory, pending=dict.fromkeys(elsewhere, NOW))
    assert outcome(at) == (None, "")


def test_holds_until_the_effect_of_the_last_change_was_seen() -> None:
    at = conditions(INDEX, pending={E0: NOW + 7})
    assert outcome(at) == (Reason.UNVERIFIED, "due in 7 s")
    assert outcome(at, urgent=True) == (None, "")


def test_urgent_and_calm_changes_of_one_batch_are_told_apart() -> None:
    index = edges(6)
    written = [Written((Target(TargetKind.EDGE, f"e{i}"), Knob.TIMEOUT), Direction.TIGHTEN, NOW) for i in (0, 1)]
    pending = {(Target(TargetKind.EDGE, f"e{i}"), Knob.TIMEOUT): NOW for i in (2, 3)}
    law = Law(index, range(6), direction=Direction.LOOSEN, urgent=[True, False] * 3)
    memory = GuardMemory().over(index).with_writes(written)
    plan = make_plan(
        proposals(law),
        conditions(index, rules(replace(FREE, clean_periods=1)), memory=memory, pending=pending),
    )
    assert [p.target.name for p in plan.go] == ["e0", "e2", "e4"]
    assert [(h.proposal.target.name, h.reason) for h in plan.held] == [
        ("e1", Reason.COOL_DOWN),
        ("e3", Reason.UNVERIFIED),
        ("e5", Reason.NOT_CLEAN),
    ]


def test_a_pending_write_on_a_target_that_is_gone_holds_nothing() -> None:
    gone = (Target(TargetKind.EDGE, "e9"), Knob.TIMEOUT)
    assert outcome(conditions(INDEX, pending={gone: NOW})) == (None, "")


def test_relaxing_waits_for_clean_windows_and_tightening_does_not() -> None:
    law = Law(INDEX, [0], direction=Direction.LOOSEN)
    policy = rules(replace(FREE, clean_periods=2))
    memory = GuardMemory().with_wishes(proposals(law), INDEX)
    at = conditions(INDEX, policy, memory=memory)
    assert outcome(at, direction=Direction.LOOSEN) == (Reason.NOT_CLEAN, "1 of 2 windows")
    assert outcome(at, direction=Direction.TIGHTEN) == (None, "")
    again = replace(at, memory=memory.with_wishes(proposals(law), INDEX))
    assert outcome(again, direction=Direction.LOOSEN) == (None, "")


def test_what_the_control_plane_cannot_say_is_held_in_its_words() -> None:
    assert outcome(conditions(INDEX, refusal=lambda _: "no such route")) == (Reason.REFUSED, "no such route")


def test_bounds_that_leave_nothing_to_change_hold_whatever_is_urgent() -> None:
    at = conditions(INDEX, rules(replace(FREE, minimum=2.0)), refusal=lambda _: "never asked")
    assert outcome(at, urgent=True) == (Reason.DEAD_BAND, "the bounds leave nothing to change")


def test_a_change_below_the_dead_band_is_held_whatever_is_urgent() -> None:
    wide = conditions(INDEX, rules(replace(FREE, dead_band=0.3)), refusal=lambda _: "never asked")
    assert outcome(wide, urgent=True) == (Reason.DEAD_BAND, "the change left is below 30%")
    assert outcome(conditions(INDEX, rules(replace(FREE, dead_band=0.2)))) == (None, "")


def test_the_dead_band_is_asked_of_what_the_bounds_leave() -> None:
    narrow = rules(replace(FREE, minimum=1.95, dead_band=0.05))
    assert outcome(conditions(INDEX, narrow)) == (Reason.DEAD_BAND, "the change left is below 5%")


def test_nobody_is_advised_what_cannot_be_said_or_changes_nothing() -> None:
    advice = conditions(INDEX, enforce=False, refusal=lambda _: "no such route")
    assert outcome(advice) == (Reason.REFUSED, "no such route")
    assert outcome(advice, proposed=Timeout(2.0, None))[0] is Reason.DEAD_BAND


def test_what_says_more_than_the_value_is_told_first() -> None:
    policy = rules(replace(FREE, mode=Mode.OFF))
    at = conditions(INDEX, policy, refusal=lambda _: "no such route", paused=True)
    assert outcome(at)[0] is Reason.MODE_OFF
    assert outcome(at, confidence=0.1)[0] is Reason.LOW_TRUST
    assert outcome(replace(at, frame=frame_of(INDEX, 9 * PERIOD_S)), confidence=0.1)[0] is Reason.STALE


@pytest.mark.parametrize(
    ("direction", "urgent", "held"),
    [
        (Direction.TIGHTEN, False, True),
        (Direction.TIGHTEN, True, False),
        (Direction.LOOSEN, False, False),
    ],
)
def test_who_only_waits_for_another_is_not_tightened_unless_users_need_it_now(
    direction: Direction, urgent: bool, held: bool
) -> None:
    at = conditions(INDEX, victim=np.array([True, False]))
    expected = (Reason.VICTIM, "") if held else (None, "")
    assert outcome(at, direction=direction, urgent=urgent) == expected
    assert outcome(conditions(INDEX, victim=np.array([False, True])), direction=direction)[0] is not Reason.VICTIM
