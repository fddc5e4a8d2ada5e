"""One cycle, the whole product on one page.

    observe -> verify -> detect, predict -> decide -> guard -> apply -> record

The twin's proof joins here when it exists. `run`, `recommend`, the benchmarks and the demo call this same
function; they differ only in the ports they hand to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from governor.baseline import own_weights
from governor.decide.laws import Beliefs, decide
from governor.domain import MeshFrame
from governor.errors import ControlPlaneError, GovernorError, LedgerError, SourceError
from governor.guard.gates import Conditions
from governor.guard.held import Held
from governor.guard.memory import GuardMemory, Key, Written
from governor.guard.plan import Plan, make_plan
from governor.knobs import Knob, KnobState, KnobValue, Proposal, Receipt, Target
from governor.learned import Learned, LearnedOptions, LearnedState, learn
from governor.policy import GovernorPolicy, Resolved, resolved
from governor.ports import Clock, ControlPlane, Entry, Ledger, MetricSource
from governor.predict.model import TrainedForecast
from governor.proposals import Proposals
from governor.reasons import Reason
from governor.record import Recorder, decision_id
from governor.verify.judge import Pending, Verdict, blind, judge

UNDO_AFTER_PERIODS = 5.0
BASELINE_AFTER_S = 900.0


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
    learned: LearnedOptions = field(default_factory=LearnedOptions)
    trained: TrainedForecast | None = None
    """The load forecast's model; None: the naive forecast serves."""


@dataclass(frozen=True)
class GovernorState:
    """What one cycle hands to the next."""

    number: int = 0
    beliefs: Beliefs | None = None
    learned: LearnedState = field(default_factory=LearnedState)
    memory: GuardMemory = field(default_factory=GuardMemory)
    pending: tuple[Pending, ...] = ()
    baseline: Mapping[Key, KnobValue] = field(default_factory=dict)
    """The operator's own values of everything the governor has written."""
    last_frame_at: float | None = None
    """Clock time of the last usable frame."""
    resolved: Resolved | None = None
    """The policies over the last frame's index."""
    owed: tuple[Entry, ...] = ()
    """What has happened and the ledger could not take yet."""


@dataclass(frozen=True)
class CycleResult:
    """What one cycle saw, decided and did."""

    frame: MeshFrame
    learned: Learned
    proposals: Proposals
    """Built when looked at, as is what `plan` holds back."""
    plan: Plan
    receipts: tuple[Receipt, ...]
    verdicts: tuple[Verdict, ...]
    state: GovernorState
    notes: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    """Ids in the ledger of what went, in the order of `plan.go`."""


class CutShort(GovernorError):  # noqa: N818 - reads as what happened
    """The cycle could not go on; `state` holds what it has undone and written, for the next cycle."""

    def __init__(self, message: str, state: GovernorState) -> None:
        super().__init__(message)
        self.state = state


class BlindCycle(SourceError):  # noqa: N818 - reads as what happened
    """No frame this cycle; `state` is what the next cycle starts from."""

    def __init__(self, message: str, state: GovernorState) -> None:
        super().__init__(message)
        self.state = state


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
        raise BlindCycle(str(error), _while_blind(state, ports, options, record, now)) from error
    state = replace(state, number=state.number + 1, last_frame_at=ports.clock.now())

    plane = ports.control_plane
    verdicts = judge(state.pending, frame)
    state = _settle(state, verdicts, plane, record)
    try:
        state, learned = _learn(state, frame, options, record)
        state, proposals, plan = _plan(state, frame, learned, ports, options)
    except Exception as error:
        raise CutShort(str(error), replace(state, owed=record.owed)) from error
    state, plan, receipts, decisions = _apply(state, plan, plane, record, frame.at)
    record.cycle(frame, learned.findings, plan.held, len(proposals))
    state = replace(state, owed=record.owed)
    if record.failure is not None:
        raise CutShort(str(record.failure), state) from record.failure
    return CycleResult(frame, learned, proposals, plan, receipts, verdicts, state, record.notes, decisions)


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
    conditions = Conditions(
        frame=frame,
        policy=policies.view,
        memory=memory,
        pending={(p.receipt.target, p.receipt.knob): p.due_at for p in state.pending},
        refusal=plane.refusal if plane else lambda _: None,
        now=ports.clock.now(),
        period_s=options.period_s,
        enforce=options.enforce and plane is not None,
        paused=options.paused,
        victim=learned.outlook.victim[frame.index.edge_callee],
        number=state.number,
    )
    state = replace(state, beliefs=beliefs, memory=memory, resolved=policies)
    return state, proposals, make_plan(proposals, conditions)


def _apply(
    state: GovernorState, plan: Plan, plane: ControlPlane | None, record: Recorder, at: float
) -> tuple[GovernorState, Plan, tuple[Receipt, ...], tuple[str, ...]]:
    """Write what goes: intent first, then the write, then its receipt. A refused write becomes held.

    Nothing is written that the ledger cannot take; a write whose receipt it does not take is taken back.
    """
    went: list[Proposal] = []
    receipts: list[Receipt] = []
    ids: list[str] = []
    rejected: list[Held] = []
    pending = {(p.receipt.target, p.receipt.knob): p for p in state.pending}
    baseline = dict(state.baseline)

    def so_far() -> GovernorState:
        writes = [Written((p.target, p.knob), p.direction, record.at) for p in went]
        memory = state.memory.with_writes(writes)
        return replace(state, memory=memory, pending=tuple(pending.values()), baseline=baseline)

    for position, proposal in enumerate(plan.go if plane else ()):
        assert plane is not None
        name = decision_id(record.at, record.number, position)
        try:
            record.intent(name, proposal)
            receipt = plane.write(proposal.target, proposal.knob, proposal.proposed)
        except LedgerError:
            break
        except ControlPlaneError as error:
            rejected.append(Held(proposal, Reason.REJECTED, str(error)))
            record.verdict(name, proposal.target, proposal.knob, Reason.REJECTED, {"error": str(error)})
            continue
        except Exception as error:
            raise CutShort(str(error), replace(so_far(), owed=record.owed)) from error
        recorded = record.receipt(name, proposal, receipt)
        if not recorded and _taken_back(name, receipt, plane, record):
            break
        key = (proposal.target, proposal.knob)
        if (old := pending.pop(key, None)) is not None:
            record.verdict(old.decision, *key, Reason.SUPERSEDED, {"by": name})
        pending[key] = Pending(name, receipt, proposal.hypothesis, proposal.direction, at)
        baseline.setdefault(key, receipt.before)
        went.append(proposal)
        receipts.append(receipt)
        ids.append(name)
    return so_far(), Plan(tuple(went), plan.held.also(rejected)), tuple(receipts), tuple(ids)


def _taken_back(name: str, receipt: Receipt, plane: ControlPlane, record: Recorder) -> bool:
    """Undo a write that could not be recorded; if that fails it stays, to be judged as any other."""
    try:
        plane.write(receipt.target, receipt.knob, receipt.before)
    except ControlPlaneError:
        return False
    record.verdict(name, receipt.target, receipt.knob, Reason.UNDONE_UNRECORDED, {})
    return True


def _settle(
    state: GovernorState, verdicts: Sequence[Verdict], plane: ControlPlane | None, record: Recorder
) -> GovernorState:
    """Keep or undo what was due. An undo that fails stays pending and is tried again next cycle."""
    settled: set[str] = set()
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
        settled.add(pending.decision)
    waiting = tuple(p for p in state.pending if p.decision not in settled)
    return replace(state, memory=state.memory.with_writes(undone), pending=waiting)


def _while_blind(
    state: GovernorState, ports: Ports, options: CycleOptions, record: Recorder, now: float
) -> GovernorState:
    """Hold; after five periods undo what was never verified; after fifteen minutes restore the baseline."""
    state = replace(state, number=state.number + 1, owed=record.owed)
    plane, since = ports.control_plane, state.last_frame_at
    if plane is None or since is None or not options.enforce:
        return state
    if now - since > UNDO_AFTER_PERIODS * options.period_s:
        state = _settle(state, blind(state.pending), plane, record)
    if now - since <= BASELINE_AFTER_S:
        return replace(state, owed=record.owed)
    left = dict(state.baseline)
    for (target, knob), value in state.baseline.items():
        if _restore(plane, target, knob, value, record):
            del left[target, knob]
    return replace(state, baseline=left, memory=GuardMemory(), owed=record.owed)


def _restore(plane: ControlPlane, target: Target, knob: Knob, value: KnobValue, record: Recorder) -> bool:
    try:
        receipt = plane.write(target, knob, value)
    except ControlPlaneError as error:
        record.note(f"{knob.value} of {target} could not be given back, it is tried again: {error}")
        return False
    record.restored(receipt)
    return True
