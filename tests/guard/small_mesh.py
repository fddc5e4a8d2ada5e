"""A mesh of a few edges, proposals that count how often they are built, and conditions that let them all go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from governor.domain import ApiSignals, BackendSignals, EdgeSignals, MeshFrame, MeshIndex, ServiceSignals
from governor.guard.gates import Conditions
from governor.guard.memory import GuardMemory
from governor.knobs import Direction, Hypothesis, Knob, KnobValue, Proposal, RateLimit, Target, Timeout
from governor.policy_view import BlastRadius, KnobRule, Mode, PolicyView, Rules
from governor.proposals import Batch, Line, Proposals, code
from governor.reasons import Reason

PERIOD_S = 10.0
NOW = 1000.0
NOW_SET, WANTED = Timeout(2.0, None), Timeout(1.5, None)
FREE = KnobRule(mode=Mode.ENFORCE, step_up=9.0, step_down=1.0, cool_down_periods=2, clean_periods=0)
"""A rule whose bounds and steps are wide open."""


def mesh(*edges: str, apis: Sequence[str] = ("shop",)) -> MeshIndex:
    """One caller and one callee for each of `edges`; all `apis` enter through the first."""
    count = len(edges)
    return MeshIndex(
        services=tuple(f"s{i}" for i in range(count + 1)),
        edges=edges,
        edge_caller=np.zeros(count, np.int32),
        edge_callee=np.arange(1, count + 1, dtype=np.int32),
        apis=tuple(apis),
        api_edge=np.zeros(len(apis), np.int32),
    )


def edges(count: int) -> MeshIndex:
    """A mesh with edges e0, e1, ..."""
    return mesh(*(f"e{i}" for i in range(count)))


def frame_of(index: MeshIndex, age_s: float = 0.0) -> MeshFrame:
    """100 requests/s on the mesh as a whole, spread evenly."""
    sizes = index.sizes
    rate = np.full(sizes["edge"], 100.0 / sizes["edge"], np.float32)
    return MeshFrame(
        at=NOW,
        window_s=PERIOD_S,
        index=index,
        service=ServiceSignals.unknown(sizes["service"]),
        edge=EdgeSignals.unknown(sizes["edge"], rate=rate),
        backend=BackendSignals.unknown(0),
        api=ApiSignals.unknown(sizes["api"]),
        age_s=age_s,
    )


@dataclass
class Law:
    """Proposals of one knob on `rows` of a mesh; `built` are the rows whose proposals were made whole."""

    index: MeshIndex
    rows: Sequence[int]
    knob: Knob = Knob.TIMEOUT
    direction: Direction | Sequence[Direction] = Direction.TIGHTEN
    reason: Reason = Reason.TIMEOUT_TOO_LONG
    urgent: bool | Sequence[bool] = False
    traffic: float | Sequence[float] = 1.0
    confidence: float = 1.0
    current: KnobValue = NOW_SET
    proposed: KnobValue = WANTED
    built: list[int] = field(default_factory=list)

    def batch(self) -> Batch:
        """What the law hands over."""
        one = isinstance(self.direction, Direction)
        direction = self.direction if one else np.array([code(d) for d in self.direction], np.int16)
        return Batch.of(
            self.knob,
            np.array(self.rows, np.intp),
            self._build,
            direction=direction,
            reason=self.reason,
            urgent=self.urgent,
            traffic=self.traffic,
            confidence=self.confidence,
        )

    def _build(self, line: Line) -> Proposal:
        self.built.append(line.row)
        kind = self.knob.sits_on
        names = self.index.apis if kind.value == "api" else self.index.edges
        return Proposal(
            target=Target(kind, names[line.row]),
            knob=self.knob,
            current=self.current,
            proposed=self.proposed,
            uncapped=self.proposed,
            direction=line.direction,
            reason=line.reason,
            summary=f"row {line.row}",
            evidence={},
            hypothesis=Hypothesis("success_rate", 0.9, 2 * PERIOD_S),
            confidence=line.confidence,
            traffic=line.traffic,
            urgent=line.urgent,
        )


def limits(index: MeshIndex, rows: Sequence[int], **changes: object) -> Law:
    """A law that tightens rate limits."""
    law = Law(index, rows, Knob.RATE_LIMIT, reason=Reason.OVERLOAD)
    return replace(law, current=RateLimit(100.0), proposed=RateLimit(80.0), built=[], **changes)


def proposals(*laws: Law) -> Proposals:
    """All that `laws` propose in one cycle."""
    return Proposals([law.batch() for law in laws])


def rules(
    rule: KnobRule = FREE,
    *,
    name: str = "free",
    writes: int = 100,
    share: float = 1.0,
    knobs: Mapping[Knob, KnobRule] | None = None,
    suppress: frozenset[str] = frozenset(),
    freeze: tuple[tuple[float, float], ...] = (),
) -> Rules:
    """One policy with the same rule for all knobs but those in `knobs`."""
    every = dict.fromkeys(Knob, rule) | dict(knobs or {})
    return Rules(name, every, BlastRadius(writes, share), suppress, freeze)


def policy_of(index: MeshIndex, policies: Sequence[Rules], edge_rules: Sequence[int] | None = None) -> PolicyView:
    """A view in which `policies[0]` governs all, unless `edge_rules` says otherwise for each edge."""
    sizes = index.sizes
    governed = np.zeros(sizes["edge"], np.int32) if edge_rules is None else np.array(edge_rules, np.int32)
    per_service, per_api = np.ones(sizes["service"], np.float32), np.ones(sizes["api"], np.float32)
    return PolicyView(
        availability=per_service,
        latency_s=per_service,
        quantile=per_service,
        api_tier=np.ones(sizes["api"], np.int32),
        api_share=per_api,
        api_latency_s=per_api,
        rules=tuple(policies),
        edge_rules=governed,
        api_rules=np.zeros(sizes["api"], np.int32),
        edge_position=index.edge_position,
        api_position=index.api_position,
    )


def conditions(index: MeshIndex, *policies: Rules, **changes: object) -> Conditions:
    """Enforcing, fresh signals, nothing pending, a control plane that can say everything."""
    at = Conditions(
        frame=frame_of(index),
        policy=policy_of(index, policies or (rules(),)),
        memory=GuardMemory().over(index),
        pending={},
        refusal=lambda _: None,
        now=NOW,
        period_s=PERIOD_S,
        enforce=True,
        paused=False,
        victim=np.zeros(len(index.edges), np.bool_),
    )
    return replace(at, **changes)
