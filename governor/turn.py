"""What goes into one turn of the loop and what comes out of it: ports, options, state, result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from governor.decide.laws import Beliefs
from governor.domain import MeshFrame
from governor.errors import GovernorError, SourceError
from governor.guard.gates import Conditions
from governor.guard.memory import GuardMemory, Key
from governor.guard.plan import Plan
from governor.knobs import KnobValue, Receipt
from governor.learned import Learned, LearnedOptions, LearnedState
from governor.policy import GovernorPolicy, Resolved
from governor.ports import Clock, ControlPlane, Entry, Ledger, MetricSource
from governor.predict.model import TrainedForecast
from governor.proposals import Flags, Proposals
from governor.verify.judge import Pending, Verdict


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
    look_s: float = 0.25
    """Between two short looks at the backends (`governor.early`); 0: never."""
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
    early_at: float = -math.inf
    """Clock time of the last turn between two cycles."""
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


def conditions(
    state: GovernorState, ports: Ports, options: CycleOptions, frame: MeshFrame, victim: Flags
) -> Conditions:
    """What the guard's gates look at; `state` has the frame's policies, `victim` (E,) as in Conditions."""
    plane = ports.control_plane
    assert state.resolved is not None
    return Conditions(
        frame=frame,
        policy=state.resolved.view,
        memory=state.memory,
        pending={(p.receipt.target, p.receipt.knob): p.due_at for p in state.pending},
        refusal=plane.refusal if plane else lambda _: None,
        now=ports.clock.now(),
        period_s=options.period_s,
        enforce=options.enforce and plane is not None,
        paused=options.paused,
        victim=victim,
        number=state.number,
    )
