"""What goes first, how far one cycle may go, and that only what goes is built."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.guard import builder
from governor.guard.held import Held, HeldKind
from governor.guard.memory import GuardMemory, Written
from governor.guard.plan import Plan, make_plan
from governor.knobs import Direction, Knob, Proposal, Target, TargetKind, Timeout
from governor.policy_view import Mode
from governor.reasons import Reason

from .small_mesh import FREE, NOW, Law, conditions, edges, limits, mesh, policy_of, proposals, rules


def names(plan: Plan) -> list[str]:
    return [p.target.name for p in plan.go]


def test_urgent_changes_go_first_then_those_that_touch_most_traffic_then_in_the_laws_order() -> None:
    index = edges(5)
    law = Law(index, range(5), urgent=[False, True, False, True, False], traffic=[9.0, 1.0, 5.0, 2.0, 9.0])
    plan = make_plan(proposals(law), conditions(index))
    assert names(plan) == ["e3", "e1", "e0", "e4", "e2"]


def test_laws_are_ordered_together() -> None:
    index = edges(2)
    plan = make_plan(
        proposals(Law(index, [0, 1], traffic=[1.0, 3.0]), limits(index, [0], traffic=2.0)), conditions(index)
    )
    assert names(plan) == ["e1", "shop", "e0"]


def test_the_rest_is_held_once_the_writes_are_spent_and_never_built() -> None:
    index = edges(50)
    law = Law(index, range(50), traffic=list(range(50)))
    plan = make_plan(proposals(law), conditions(index, rules(writes=3)))
    assert names(plan) == ["e49", "e48", "e47"]
    assert law.built == [49, 48, 47]
    assert len(plan.held) == 47
    assert plan.held.counts() == {HeldKind(Knob.TIMEOUT, Reason.TIMEOUT_TOO_LONG, Reason.BLAST_RADIUS): 47}
    assert law.built == [49, 48, 47]


def test_held_changes_are_built_one_by_one_most_protecting_first() -> None:
    index = edges(50)
    law = Law(index, range(50), traffic=list(range(50)))
    plan = make_plan(proposals(law), conditions(index, rules(writes=3)))
    law.built.clear()
    first = plan.held[0]
    assert (first.proposal.target.name, first.reason, first.detail) == (
        "e46",
        Reason.BLAST_RADIUS,
        "3 writes a cycle",
    )
    assert law.built == [46]
    assert [h.proposal.target.name for h in plan.held[-2:]] == ["e1", "e0"]
    assert law.built == [46, 1, 0]
    assert plan.held[0] is first
    assert len(list(plan.held)) == 47
    assert sorted(law.built) == list(range(47))
    with pytest.raises(IndexError):
        plan.held[47]


def test_a_change_held_for_its_value_costs_no_write() -> None:
    index = edges(3)

    def refusal(proposal: Proposal) -> str | None:
        return "no such route" if proposal.target.name == "e0" else None

    law = Law(index, range(3), traffic=[3.0, 2.0, 1.0])
    plan = make_plan(proposals(law), conditions(index, rules(writes=1), refusal=refusal))
    assert names(plan) == ["e1"]
    assert [(h.proposal.target.name, h.reason) for h in plan.held] == [
        ("e0", Reason.REFUSED),
        ("e2", Reason.BLAST_RADIUS),
    ]


def test_shifted_traffic_is_limited_and_a_smaller_shift_still_goes() -> None:
    index = edges(3)
    law = Law(index, range(3), direction=Direction.SHIFT, traffic=[40.0, 30.0, 9.0])
    plan = make_plan(proposals(law), conditions(index, rules(share=0.5)))
    assert names(plan) == ["e0", "e2"]
    assert (plan.held[0].reason, plan.held[0].detail) == (Reason.BLAST_RADIUS, "50% of traffic a cycle")


def test_only_shifts_count_as_shifted_traffic() -> None:
    index = edges(2)
    plan = make_plan(proposals(Law(index, [0, 1], traffic=90.0)), conditions(index, rules(share=0.1)))
    assert len(plan.go) == 2


def test_each_policy_has_its_own_radius() -> None:
    index = edges(4)
    both = [rules(writes=1, name="one"), rules(writes=2, name="two")]
    at = conditions(index, policy=policy_of(index, both, edge_rules=[0, 0, 1, 1]))
    plan = make_plan(proposals(Law(index, range(4), traffic=[1.0, 2.0, 3.0, 4.0])), at)
    assert names(plan) == ["e3", "e2", "e1"]


def test_a_policy_without_writes_builds_nothing() -> None:
    index = edges(3)
    law = Law(index, range(3))
    plan = make_plan(proposals(law), conditions(index, rules(writes=0)))
    assert not plan.go
    assert plan.held[2].detail == "0 writes a cycle"
    assert law.built == [2]


def test_recommend_mode_builds_nothing_until_it_is_read_and_then_shows_the_bounded_value() -> None:
    index = edges(4)
    law = Law(index, range(4))
    at = conditions(index, rules(replace(FREE, minimum=1.8)), enforce=False)
    plan = make_plan(proposals(law), at)
    assert not law.built
    assert len(plan.held) == 4
    assert plan.held[1].proposal.proposed == Timeout(1.8, None)
    assert plan.held[1].proposal.uncapped == Timeout(1.5, None)


def test_a_flapping_knob_moves_half_the_way() -> None:
    index = edges(1)
    key = (Target(TargetKind.EDGE, "e0"), Knob.TIMEOUT)
    turns = [Written(key, d, 0.0) for d in [Direction.TIGHTEN, Direction.LOOSEN] * 2]
    memory = GuardMemory().over(index)
    before = make_plan(proposals(Law(index, [0])), conditions(index, memory=memory.with_writes(turns[:3])))
    after = make_plan(proposals(Law(index, [0])), conditions(index, memory=memory.with_writes(turns)))
    assert before.go[0].proposed == Timeout(1.5, None)
    assert after.go[0].proposed == Timeout(1.75, None)


def test_nothing_proposed_is_an_empty_plan() -> None:
    plan = make_plan(proposals(), conditions(edges(1)))
    assert not plan.go
    assert not len(plan.held)
    assert not plan.held.counts()


def test_rejected_writes_come_first_and_are_counted() -> None:
    index = edges(2)
    plan = make_plan(proposals(Law(index, [0, 1], traffic=[2.0, 1.0])), conditions(index, rules(writes=1)))
    held = plan.held.also([Held(plan.go[0], Reason.REJECTED, "no answer")])
    assert [h.reason for h in held] == [Reason.REJECTED, Reason.BLAST_RADIUS]
    assert {kind.gate: n for kind, n in held.counts().items()} == {Reason.REJECTED: 1, Reason.BLAST_RADIUS: 1}


def test_a_crowd_of_refused_changes_is_looked_at_in_parts_and_keeps_no_other_knob_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builder, "LOOKS", 6)
    index = edges(20)
    crowd = Law(index, range(20), traffic=100.0, urgent=True)
    at = conditions(index, rules(writes=5), refusal=lambda p: "no" if p.knob is Knob.TIMEOUT else None)
    seen: set[int] = set()
    for number in range(8):
        crowd.built.clear()
        plan = make_plan(proposals(crowd, limits(index, [0])), replace(at, number=number))
        assert names(plan) == ["shop"]
        assert len(crowd.built) == 6
        assert crowd.built[:3] == [0, 1, 2]
        seen |= set(crowd.built)
    assert seen == set(range(20))


def test_what_had_no_turn_in_a_crowd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "LOOKS", 4)
    index = edges(10)
    at = conditions(index, refusal=lambda p: "no" if p.target.name != "e9" else None)
    plan = make_plan(proposals(Law(index, range(10))), at)
    (waiting,) = [h for h in plan.held if h.reason is Reason.BLAST_RADIUS]
    assert waiting.proposal.target.name == "e9"
    assert waiting.detail == "4 changes of a knob looked at a cycle"


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(list(Direction)),
        st.booleans(),
        st.floats(0, 100),
        st.booleans(),  # whether the control plane can say it
        st.integers(-1, 1),  # policy
    ),
    min_size=1,
    max_size=12,
)


@given(CHANGES, st.integers(0, 5), st.floats(0, 1), st.sampled_from(list(Mode)))
def test_never_beyond_the_radius_and_every_proposal_is_in_go_or_held_once(
    changes: list[tuple[Direction, bool, float, bool, int]], writes: int, share: float, mode: Mode
) -> None:
    index = mesh(*(f"e{i}" for i in range(len(changes))))
    directions, urgent, traffic, said, policy = map(list, zip(*changes, strict=True))
    law = Law(index, range(len(changes)), direction=directions, urgent=urgent, traffic=traffic)
    refused = {f"e{i}" for i, can in enumerate(said) if not can}
    two = [rules(writes=writes, share=share, name="a"), rules(replace(FREE, mode=mode), writes=2, name="b")]
    at = conditions(
        index,
        policy=policy_of(index, two, edge_rules=policy),
        refusal=lambda p: "no" if p.target.name in refused else None,
    )
    plan = make_plan(proposals(law), at)
    held = [h.proposal.target.name for h in plan.held]
    assert sorted(names(plan) + held) == sorted(index.edges)
    assert sum(plan.held.counts().values()) == len(held)
    assert not refused & set(names(plan))
    first = [p for p in plan.go if policy[index.edge_position[p.target.name]] == 0]
    assert len(first) <= writes
    assert sum(p.traffic for p in first if p.direction is Direction.SHIFT) <= share * 100.0 + 1e-4
    assert len(plan.go) - len(first) <= (2 if mode is Mode.ENFORCE else 0)
    assert [p.urgent for p in plan.go] == sorted((p.urgent for p in plan.go), reverse=True)


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.01, 50), st.floats(0, 50), st.booleans())
def test_what_goes_is_always_within_its_bounds(
    now: float, new: float, minimum: float, more: float, urgent: bool
) -> None:
    index = edges(1)
    rule = replace(FREE, minimum=minimum, maximum=minimum + more, step_up=0.25, step_down=0.5)
    law = Law(index, [0], current=Timeout(now, None), proposed=Timeout(new, None), urgent=urgent)
    plan = make_plan(proposals(law), conditions(index, rules(rule), now=NOW))
    for proposal in plan.go:
        assert isinstance(proposal.proposed, Timeout)
        assert proposal.proposed.request_s is not None
        assert minimum <= proposal.proposed.request_s <= minimum + more
