"""What a cycle hands on, writes and records, over a mesh and a control plane in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from governor.adapters.memory import MemoryControlPlane, MemoryLedger
from governor.cycle import cycle
from governor.domain import MeshFrame, MeshIndex
from governor.errors import WriteRejected
from governor.knobs import InFlightCap, Knob, KnobValue, Receipt, Target, TargetKind
from governor.policy import GovernorPolicy, parse_policies
from governor.reasons import Reason
from governor.record import LISTED
from governor.turn import CycleOptions, CycleResult, GovernorState, Ports
from tests.benchmarks.cycle import FrameClock, SyntheticSource, make_frame, make_index

POLICY = """
apiVersion: governor/v1alpha1
kind: GovernorPolicy
metadata: {name: caps}
spec:
  blastRadius: {writesPerCycle: 3}
  knobs: {in-flight-cap: {mode: enforce}}
"""
POLICIES: tuple[GovernorPolicy, ...] = parse_policies(POLICY, "caps.yaml")
RNG = np.random.default_rng(0)
INDEX = make_index(20, RNG)
FRAMES = [make_frame(INDEX, RNG, 15.0 * i) for i in range(6)]


class RejectingPlane(MemoryControlPlane):
    """Refuses the first write of all."""

    refused: Target | None = None

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        if self.refused is None:
            self.refused = target
            raise WriteRejected("the listener said no")
        return super().write(target, knob, value)


def run(
    frames: Iterable[MeshFrame],
    plane: MemoryControlPlane | None,
    ledger: MemoryLedger | None = None,
    *,
    enforce: bool = True,
) -> list[CycleResult]:
    """One cycle a frame, each from the state that the one before left."""
    frames = list(frames)
    ports = Ports(SyntheticSource(frames), plane, ledger or MemoryLedger(), FrameClock())
    state, results = GovernorState(), []
    for _ in frames:
        results.append(cycle(state, ports, CycleOptions(POLICIES, enforce=enforce)))
        state = results[-1].state
    return results


def test_the_ledger_counts_all_that_is_held_and_describes_the_most_pressing() -> None:
    ledger = MemoryLedger()
    (result,) = run(FRAMES[:1], None, ledger, enforce=False)
    (entry,) = ledger.entries(kind="cycle")
    assert len(result.proposals) > LISTED
    assert entry.body["proposals"] == len(result.proposals) == len(result.plan.held)
    assert entry.body["held_by"] == {Reason.MODE_RECOMMEND.code: len(result.proposals)}
    assert len(entry.body["held"]) == LISTED
    assert [h["target"] for h in entry.body["held"]] == [
        str(h.proposal.target) for h in result.plan.held[:LISTED]
    ]
    most = max((p for p in result.proposals if p.urgent), key=lambda p: p.traffic)
    assert entry.body["held"][0]["summary"] == most.summary


def test_no_more_is_written_than_the_policy_lets_go_and_the_rest_is_known() -> None:
    plane = MemoryControlPlane(INDEX)
    (result,) = run(FRAMES[:1], plane)
    assert len(result.plan.go) == len(result.receipts) == len(plane.written) == 3
    assert len(result.plan.go) + len(result.plan.held) == len(result.proposals)


def test_a_rejected_write_is_held_first_and_not_remembered_as_written() -> None:
    plane, ledger = RejectingPlane(INDEX), MemoryLedger()
    (result,) = run(FRAMES[:1], plane, ledger)
    first = result.plan.held[0]
    assert (first.proposal.target, first.reason) == (plane.refused, Reason.REJECTED)
    assert "the listener said no" in first.detail
    assert len(result.receipts) == len(result.decisions) == len(result.state.pending) == 2
    assert plane.refused is not None
    assert result.state.memory.of(plane.refused, Knob.IN_FLIGHT_CAP).directions == ()
    codes = [e.code for e in ledger.entries(kind="verdict")]
    assert codes == [Reason.REJECTED.code]
    assert ledger.open_intents() == []


def test_the_operators_own_value_stays_the_baseline_after_further_writes() -> None:
    target, knob = Target(TargetKind.EDGE, INDEX.edges[5]), Knob.IN_FLIGHT_CAP
    policies = parse_policies(
        POLICY.replace("spec:", f"spec:\n  select: {{edges: ['{target.name}']}}"), "one.yaml"
    )
    plane = MemoryControlPlane(INDEX)
    ports = Ports(SyntheticSource(FRAMES), plane, MemoryLedger(), FrameClock())
    state, decisions = GovernorState(), []
    for _ in FRAMES:
        result = cycle(state, ports, CycleOptions(policies, enforce=True))
        state, decisions = result.state, [*decisions, *result.decisions]
        if len(decisions) == 1:  # something else loosens the cap, so that the governor has to write again
            plane.write(target, knob, InFlightCap(10**6, 10**6))
    assert len(decisions) > 1
    assert state.baseline == {(target, knob): InFlightCap(None, None)}
    assert [p.receipt for p in state.pending] == [plane.receipts[-1]]
    assert plane.receipts[-1].before == plane.receipts[-2].after


def test_what_is_written_is_remembered_until_it_is_judged() -> None:
    results = run(FRAMES[:4], MemoryControlPlane(INDEX))
    first = [p.decision for p in results[0].state.pending]
    assert first == list(results[0].decisions)
    judged = {v.pending.decision: v.reason for r in results[1:] for v in r.verdicts}
    assert set(first) <= set(judged)
    assert set(judged.values()) == {Reason.KEPT}


def test_policies_are_resolved_once_for_an_index() -> None:
    same = run(FRAMES[:2], None, enforce=False)
    assert same[0].state.resolved is same[1].state.resolved
    other = make_index(21, np.random.default_rng(1))
    changed = run([FRAMES[0], make_frame(other, RNG, 15.0)], None, enforce=False)
    resolved = changed[1].state.resolved
    assert resolved is not None
    assert resolved.index is other
    assert len(resolved.view.edge_rules) == len(other.edges)


def without_first_edge(index: MeshIndex) -> MeshIndex:
    """The same mesh after its first edge went."""
    backends = index.backend_edge > 0
    return replace(
        index,
        edges=index.edges[1:],
        edge_caller=index.edge_caller[1:],
        edge_callee=index.edge_callee[1:],
        backends=tuple(np.array(index.backends)[backends].tolist()),
        backend_edge=index.backend_edge[backends] - 1,
        api_edge=np.maximum(index.api_edge - 1, 0),
    )


@pytest.mark.parametrize("cycles", [1, 2])
def test_one_edge_that_goes_leaves_the_wishes_of_the_others_standing(cycles: int) -> None:
    smaller = without_first_edge(INDEX)
    frames = [*FRAMES[:cycles], make_frame(smaller, RNG, 15.0 * cycles)]
    wished = run(frames, None, enforce=False)[-1].state.memory.standing[Knob.IN_FLIGHT_CAP].wished_for
    assert len(wished) == len(smaller.edges)
    assert wished.max() == cycles + 1
