"""One cycle, the whole product on one page.

    observe -> verify -> detect, predict -> decide -> guard -> apply -> record

The twin's proof joins here when it exists. `run`, `recommend`, the benchmarks and the demo call this same
function; they differ only in the ports they hand to it.
"""

from __future__ import annotations

from dataclasses import replace

from governor.apply import Decided, carry_out, settle, while_blind
from governor.baseline import own_weights
from governor.decide.laws import decide
from governor.domain import MeshFrame
from governor.errors import SourceError
from governor.guard.plan import Plan, make_plan
from governor.knobs import KnobState
from governor.learned import Learned, learn
from governor.policy import resolved
from governor.proposals import Proposals
from governor.record import Recorder
from governor.turn import BlindCycle, CutShort, CycleOptions, CycleResult, GovernorState, Ports, conditions
from governor.verify.judge import judge


def cycle(state: GovernorState, ports: Ports, options: CycleOptions) -> CycleResult:
    """One pass over the mesh.

    Raises BlindCycle if there is nothing to look at, and CutShort if the control plane or the ledger gave out on
    the way; both carry the state that the next cycle starts from.
    """
    now = ports.clock.now()
    record = Recorder(ports.ledger, state.number + 1, now, state.owed)
    try:
        frame = ports.source.observe(options.window_s)
    except SourceError as error:
        raise BlindCycle(str(error), while_blind(state, ports, options, record, now)) from error
    state = replace(state, number=state.number + 1, last_frame_at=ports.clock.now())

    plane = ports.control_plane
    verdicts = judge(state.pending, frame)
    state = settle(state, verdicts, plane, record)
    try:
        state, learned = _learn(state, frame, options, record)
        state, proposals, plan = _plan(state, frame, learned, ports, options)
    except Exception as error:
        raise CutShort(str(error), replace(state, owed=record.owed)) from error
    return carry_out(state, Decided(frame, learned, proposals, plan, verdicts), plane, record)


def _learn(
    state: GovernorState, frame: MeshFrame, options: CycleOptions, record: Recorder
) -> tuple[GovernorState, Learned]:
    memory, learned = learn(state.learned, frame, options.trained, options.learned)
    for note in learned.notes:
        record.note(note)
    return replace(state, learned=memory), learned


def _plan(
    state: GovernorState, frame: MeshFrame, learned: Learned, ports: Ports, options: CycleOptions
) -> tuple[GovernorState, Proposals, Plan]:
    """What should change, and what of it may go now."""
    plane = ports.control_plane
    policies = resolved(state.resolved, options.policies, frame.index)
    knobs = plane.read(frame.index) if plane else KnobState.unset(frame.index)
    own = own_weights(state.baseline, knobs, frame.index, policies.view)
    beliefs, proposals = decide(
        state.beliefs, frame, knobs, policies.view, options.period_s, own, learned.outlook
    )
    memory = state.memory.with_wishes(proposals, frame.index)
    state = replace(state, beliefs=beliefs, memory=memory, resolved=policies)
    victim = learned.outlook.victim[frame.index.edge_callee]
    return state, proposals, make_plan(proposals, conditions(state, ports, options, frame, victim))
