"""What a turn does to the world: writes with their record, verdicts, and what happens while nothing is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from governor.domain import MeshFrame
from governor.errors import ControlPlaneError, LedgerError
from governor.guard.held import Held
from governor.guard.memory import GuardMemory, Written
from governor.guard.plan import Plan
from governor.knobs import Knob, KnobValue, Proposal, Receipt, Target
from governor.learned import Learned
from governor.ports import ControlPlane
from governor.proposals import Proposals
from governor.reasons import Reason
from governor.record import Recorder, decision_id
from governor.turn import CutShort, CycleOptions, CycleResult, GovernorState, Ports
from governor.verify.judge import Pending, Verdict, blind

UNDO_AFTER_PERIODS = 5.0
BASELINE_AFTER_S = 900.0


@dataclass(frozen=True, eq=False)
class Decided:
    """What a turn saw and wants, before anything is written."""

    frame: MeshFrame
    learned: Learned
    proposals: Proposals
    plan: Plan
    verdicts: tuple[Verdict, ...] = ()


def carry_out(
    state: GovernorState, decided: Decided, plane: ControlPlane | None, record: Recorder
) -> CycleResult:
    """Write what goes and end the record of the turn; CutShort if the ledger or the control plane gives out."""
    frame, learned, proposals = decided.frame, decided.learned, decided.proposals
    state, plan, receipts, decisions = _apply(state, decided.plan, plane, record, frame.at)
    record.cycle(frame, learned.findings, plan.held, len(proposals))
    state = replace(state, owed=record.owed)
    if record.failure is not None:
        raise CutShort(str(record.failure), state) from record.failure
    return CycleResult(
        frame, learned, proposals, plan, receipts, decided.verdicts, state, record.notes, decisions
    )


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


def settle(
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


def while_blind(
    state: GovernorState, ports: Ports, options: CycleOptions, record: Recorder, now: float
) -> GovernorState:
    """Hold; after five periods undo what was never verified; after fifteen minutes restore the baseline."""
    state = replace(state, number=state.number + 1, owed=record.owed)
    plane, since = ports.control_plane, state.last_frame_at
    if plane is None or since is None or not options.enforce:
        return state
    if now - since > UNDO_AFTER_PERIODS * options.period_s:
        state = settle(state, blind(state.pending), plane, record)
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
