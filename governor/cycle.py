"""One cycle, the whole product on one page.

    observe -> verify -> decide -> guard -> apply -> record

Learned detection and prediction and the twin's proof join here when they exist. `run`, `recommend`, the
benchmarks and the demo call this same function; they differ only in the ports they hand to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from governor.decide.laws import Beliefs, decide
from governor.domain import MeshFrame
from governor.errors import ControlPlaneError, SourceError
from governor.guard.gates import Conditions
from governor.guard.held import Held
from governor.guard.memory import GuardMemory, Key, Written
from governor.guard.plan import Plan, make_plan
from governor.knobs import Knob, KnobState, KnobValue, Proposal, Receipt, Target
from governor.policy import GovernorPolicy, Resolved, resolved
from governor.ports import Clock, ControlPlane, Ledger, MetricSource
from governor.proposals import Proposals
from governor.reasons import Reason
from governor.record import Recorder, decision_id
from governor.verify.judge import Pending, Verdict, blind, judge

UNDO_AFTER_PERIODS = 5.0
BASELINE_AFTER_S = 900.0
UNDO_COOL_DOWN_PERIODS = 3.0


@dataclass(frozen=True)
class Ports:
    """The world, as this cycle sees it. Without a control plane nothing can be written."""

    source: MetricSource
    control_plane: ControlPlane | None
    ledger: Ledger
    clock: Clock


@dataclass(frozen=True)
class CycleOptions:
    """How this instance runs."""

    policies: Sequence[GovernorPolicy]
    enforce: bool = False
    period_s: float = 15.0
    window_s: float = 15.0
    paused: bool = False


@dataclass(frozen=True)
class GovernorState:
    """What one cycle hands to the next."""

    number: int = 0
    beliefs: Beliefs | None = None
    memory: GuardMemory = field(default_factory=GuardMemory)
    pending: tuple[Pending, ...] = ()
    baseline: Mapping[Key, KnobValue] = field(default_factory=dict)
    """The operator's own values of everything the governor has written."""
    last_frame_at: float | None = None
    """Clock time of the last usable frame."""
    resolved: Resolved | None = None
    """The policies over the last frame's index."""


@dataclass(frozen=True)
class CycleResult:
    """What one cycle saw, decided and did."""

    frame: MeshFrame
    proposals: Proposals
    """Built when looked at, as is what `plan` holds back."""
    plan: Plan
    receipts: tuple[Receipt, ...]
    verdicts: tuple[Verdict, ...]
    state: GovernorState
    notes: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    """Ids in the ledger of what went, in the order of `plan.go`."""


class BlindCycle(SourceError):  # noqa: N818 - reads as what happened
    """No frame this cycle; `state` is what the next cycle starts from."""

    def __init__(self, message: str, state: GovernorState) -> None:
        super().__init__(message)
        self.state = state


def cycle(state: GovernorState, ports: Ports, options: CycleOptions) -> CycleResult:
    """One pass over the mesh; SourceError if there is nothing to look at, and then nothing is changed."""
    now = ports.clock.now()
    record = Recorder(ports.ledger, state.number + 1, now)
    try:
        frame = ports.source.observe(options.window_s)
    except SourceError as error:
        raise BlindCycle(str(error), _while_blind(state, ports, options, record, now)) from error
    now = ports.clock.now()
    state = replace(state, number=state.number + 1, last_frame_at=now)

    plane = ports.control_plane
    policies = resolved(state.resolved, options.policies, frame.index)
    verdicts = judge(state.pending, frame)
    state = _settle(state, verdicts, plane, record)

    knobs = plane.read(frame.index) if plane else KnobState.unset(frame.index)
    beliefs, proposals = decide(state.beliefs, frame, knobs, policies.view, options.period_s)
    memory = state.memory.with_wishes(proposals, frame.index)
    conditions = Conditions(
        frame=frame,
        policy=policies.view,
        memory=memory,
        pending={(p.receipt.target, p.receipt.knob): p.due_at for p in state.pending},
        refusal=plane.refusal if plane else lambda _: None,
        now=now,
        period_s=options.period_s,
        enforce=options.enforce and plane is not None,
        paused=options.paused,
        number=state.number,
    )
    plan = make_plan(proposals, conditions)
    state = replace(state, beliefs=beliefs, memory=memory, resolved=policies)
    state, plan, receipts, decisions = _apply(state, plan, plane, record, frame.at)
    record.cycle(frame, plan.held, len(proposals))
    return CycleResult(frame, proposals, plan, receipts, verdicts, state, record.notes, decisions)


def _apply(
    state: GovernorState, plan: Plan, plane: ControlPlane | None, record: Recorder, at: float
) -> tuple[GovernorState, Plan, tuple[Receipt, ...], tuple[str, ...]]:
    """Write what goes: intent first, then the write, then its receipt. A refused write becomes held."""
    went: list[Proposal] = []
    receipts: list[Receipt] = []
    ids: list[str] = []
    rejected: list[Held] = []
    pending = {(p.receipt.target, p.receipt.knob): p for p in state.pending}
    baseline = dict(state.baseline)
    for position, proposal in enumerate(plan.go if plane else ()):
        assert plane is not None
        name = decision_id(record.at, record.number, position)
        record.intent(name, proposal)
        try:
            receipt = plane.write(proposal.target, proposal.knob, proposal.proposed)
        except ControlPlaneError as error:
            rejected.append(Held(proposal, Reason.REJECTED, str(error)))
            record.verdict(name, proposal.target, proposal.knob, Reason.REJECTED, {"error": str(error)})
            continue
        record.receipt(name, proposal, receipt)
        key = (proposal.target, proposal.knob)
        if (old := pending.pop(key, None)) is not None:
            record.verdict(old.decision, *key, Reason.SUPERSEDED, {"by": name})
        pending[key] = Pending(name, receipt, proposal.hypothesis, proposal.direction, at)
        baseline.setdefault(key, receipt.before)
        went.append(proposal)
        receipts.append(receipt)
        ids.append(name)
    writes = [Written((p.target, p.knob), p.direction, record.at) for p in went]
    memory = state.memory.with_writes(writes)
    state = replace(state, memory=memory, pending=tuple(pending.values()), baseline=baseline)
    return state, Plan(tuple(went), plan.held.also(rejected)), tuple(receipts), tuple(ids)


def _settle(
    state: GovernorState, verdicts: Sequence[Verdict], plane: ControlPlane | None, record: Recorder
) -> GovernorState:
    """Keep or undo what was due. An undo that fails stays pending and is tried again next cycle."""
    settled: list[Pending] = []
    undone: list[Written] = []
    for verdict in verdicts:
        pending = verdict.pending
        target, knob = pending.receipt.target, pending.receipt.knob
        if not verdict.keep and plane is not None:
            try:
                plane.write(target, knob, pending.receipt.before)
            except ControlPlaneError as error:
                record.note(f"undo of {pending.decision} failed, it is tried again: {error}")
                continue
            undone.append(Written((target, knob), pending.direction, record.at))
        bound = pending.hypothesis.bound
        record.verdict(
            pending.decision, target, knob, verdict.reason, {"measured": verdict.measured, "bound": bound}
        )
        settled.append(pending)
    waiting = tuple(p for p in state.pending if p not in settled)
    return replace(state, memory=state.memory.with_writes(undone), pending=waiting)


def _while_blind(
    state: GovernorState, ports: Ports, options: CycleOptions, record: Recorder, now: float
) -> GovernorState:
    """Hold; after five periods undo what was never verified; after fifteen minutes restore the baseline."""
    state = replace(state, number=state.number + 1)
    plane, since = ports.control_plane, state.last_frame_at
    if plane is None or since is None or not options.enforce:
        return state
    if now - since > UNDO_AFTER_PERIODS * options.period_s:
        state = _settle(state, blind(state.pending), plane, record)
    if now - since <= BASELINE_AFTER_S:
        return state
    left = dict(state.baseline)
    for (target, knob), value in state.baseline.items():
        if _restore(plane, target, knob, value, record):
            del left[target, knob]
    return replace(state, baseline=left, memory=GuardMemory())


def _restore(plane: ControlPlane, target: Target, knob: Knob, value: KnobValue, record: Recorder) -> bool:
    try:
        receipt = plane.write(target, knob, value)
    except ControlPlaneError as error:
        record.note(f"{knob.value} of {target} could not be given back, it is tried again: {error}")
        return False
    record.restored(receipt)
    return True


def recover(ports: Ports) -> tuple[str, ...]:
    """At start: put back every write that has an intent but no receipt; says what it did.

    A governor that was killed between write and record left the mesh either before or after that write. The
    before-image is written in both cases: a change nobody can vouch for is undone.
    """
    if ports.control_plane is None:
        return ()
    record = Recorder(ports.ledger, 0, ports.clock.now())
    for entry in ports.ledger.open_intents():
        target, knob, before = record.before_image(entry)
        ports.control_plane.write(target, knob, before)
        record.verdict(entry.id, target, knob, Reason.UNDONE_CRASH, {})
        record.note(f"{knob.value} of {target} was restored: decision {entry.id} has no receipt")
    return record.notes
