"""Between two cycles: a short look at the backends, and at once away from one that has turned slow or fails.

    glance -> is a backend far from its peers? -> the weights law, on this look alone -> guard -> apply -> record

A cycle comes every few seconds; until then a proxy that picks a backend by weight sends the bad one its full
share. Here nothing is learned or believed, and nothing but a move away can come of it. At most one such turn a
period.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from governor.apply import Decided, carry_out
from governor.baseline import own_weights
from governor.decide import backends, laws
from governor.domain import MeshFrame
from governor.errors import SourceError
from governor.guard.plan import Plan, make_plan
from governor.knobs import Knob
from governor.learned import Learned
from governor.policy import resolved
from governor.policy_view import PolicyView
from governor.ports import Glances
from governor.proposals import Proposals
from governor.record import Recorder
from governor.turn import CutShort, CycleOptions, CycleResult, GovernorState, Ports, conditions

LOOK_S = 1.0
"""Seconds of signals in one look."""


def look(state: GovernorState, ports: Ports, options: CycleOptions) -> CycleResult | None:
    """A turn of the loop if a backend needs one now, else None; its `state` is what the next cycle starts from.

    None, too, where nothing may be written, before the first cycle, and from a source that measures no oftener.
    Raises CutShort as `cycle` does. A look that finds no answer is no turn: the next cycle says what is wrong.
    """
    now = ports.clock.now()
    if not options.enforce or options.paused or 0.0 <= now - state.early_at < options.period_s:
        return None
    frame = _glance(state, ports)
    if frame is None:
        return None
    policies = resolved(state.resolved, options.policies, frame.index)
    if not _someone_turned(frame, policies.view):
        return None
    state = replace(state, number=state.number + 1, early_at=now, resolved=policies)
    record = Recorder(ports.ledger, state.number, now, state.owed)
    try:
        proposals, plan = _plan(state, frame, ports, options)
    except Exception as error:
        raise CutShort(str(error), replace(state, owed=record.owed)) from error
    decided = Decided(frame, Learned.nothing(frame.index), proposals, plan)
    result = carry_out(state, decided, ports.control_plane, record)
    return replace(result, state=_moved(result, ports.clock.now()))


def _glance(state: GovernorState, ports: Ports) -> MeshFrame | None:
    """A short look over the names that something is believed of."""
    if state.beliefs is None or ports.control_plane is None or not isinstance(ports.source, Glances):
        return None
    try:
        frame = ports.source.glance(LOOK_S)
    except SourceError:
        return None
    return frame if frame is not None and frame.index.same_names(state.beliefs.index) else None


def _someone_turned(frame: MeshFrame, policy: PolicyView) -> bool:
    """Whether a backend whose weight may be written is slow or failing, beyond doubt."""
    _, found = backends.turned(frame)
    may_move = policy.enforced(Knob.WEIGHTS)[frame.index.backend_edge]
    return bool(((found.slow | found.failing) & may_move).any())


def _plan(state: GovernorState, frame: MeshFrame, ports: Ports, options: CycleOptions) -> tuple[Proposals, Plan]:
    assert state.beliefs is not None
    assert state.resolved is not None
    assert ports.control_plane is not None
    policy, knobs = state.resolved.view, ports.control_plane.read(frame.index)
    own = own_weights(state.baseline, knobs, frame.index, policy)
    proposals = laws.away(state.beliefs, frame, knobs, policy, options.period_s, own)
    calm = np.zeros(len(frame.index.edges), np.bool_)
    return proposals, make_plan(proposals, conditions(state, ports, options, frame, calm))


def _moved(result: CycleResult, at: float) -> GovernorState:
    """The state that knows since when the shares on the edges that were written are what they are."""
    state, index = result.state, result.frame.index
    assert state.beliefs is not None
    edges = [index.edge_position[receipt.target.name] for receipt in result.receipts]
    evidence = state.beliefs.backends.moved(np.isin(index.backend_edge, edges), at)
    return replace(state, beliefs=replace(state.beliefs, backends=evidence))
