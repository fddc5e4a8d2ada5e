"""All laws over one frame: beliefs first, then one batch of proposals from each knob."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governor.decide import (
    backends,
    capacity,
    connection_limits,
    cost_matrix,
    in_flight_cap,
    outlier_detection,
    rate_limit,
    retries,
    timeouts,
    weights,
)
from governor.decide.load import ServiceLoad, service_load
from governor.decide.outlook import Outlook
from governor.decide.situation import Situation, shares
from governor.domain import MeshFrame, MeshIndex, RateSamples
from governor.knobs import Knob, KnobState, Proposal
from governor.policy_view import PolicyView
from governor.proposals import Batch, Line, Proposals

LAWS = (in_flight_cap, rate_limit, weights, retries, timeouts, outlier_detection, connection_limits)
CLEAN_OVERFLOW = 0.02
"""Share of refused attempts above which rates no longer show what each API costs."""
REFUSED = 0.02
"""Share of requests turned away below which nothing is hidden."""
BUSY = 0.5
"""Share of its capacity from which a service may become a bottleneck within a step."""


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What the laws carry from one frame to the next, over one index."""

    index: MeshIndex
    capacity: capacity.CapacityBelief
    backends: backends.BackendEvidence
    cost: cost_matrix.CostState


def decide(
    old: Beliefs | None,
    frame: MeshFrame,
    knobs: KnobState,
    policy: PolicyView,
    period_s: float,
    own_weight: ArrayLike | None = None,
    outlook: Outlook | None = None,
) -> tuple[Beliefs, Proposals]:
    """Update what is believed, then ask every law; pure.

    `own_weight` (B,): the operator's weights, NaN where none are set; those in force, where it is not given.
    `outlook`: what detection and prediction say; where it is not given, nothing is abnormal and no load to come.

    Beliefs over other names (services came or went) are dropped: a new index starts afresh.
    """
    index = frame.index
    if old is None or not old.index.same_names(index):
        old = Beliefs(
            index,
            capacity.CapacityBelief.unknown(len(index.services)),
            backends.BackendEvidence.none(len(index.backends)),
            cost_matrix.CostState.empty(len(index.apis), len(index.services)),
        )
    load = service_load(frame)
    objective = policy.latency_s.astype(np.float64)
    added = _added_samples(frame)
    arrivals = added.service_arrivals if added is not None else None
    believed = capacity.update(old.capacity, load, objective, frame.window_s, _refused(frame, load), arrivals)
    believed = capacity.with_work_time(believed, frame.service.cpu_used.astype(np.float64), load)
    evidence, found = backends.update(old.backends, frame, shares(index, knobs.weight))
    cost_state = old.cost
    if added is not None and _clean(frame):
        cost_state = cost_matrix.update(cost_state, added)
    busy = believed.saturated | (load.arrivals + load.overflow > BUSY * believed.capacity)
    cost = cost_matrix.solve(cost_state, index, busy)
    own = shares(index, knobs.weight if own_weight is None else own_weight)
    told = Outlook.calm(index) if outlook is None else outlook
    situation = Situation(frame, knobs, policy, load, believed, evidence, found, cost, period_s, own, told)
    proposals = Proposals([_told(law.propose(situation), situation) for law in LAWS])
    return Beliefs(index, believed, evidence, cost_state), proposals


def away(
    believed: Beliefs, frame: MeshFrame, knobs: KnobState, policy: PolicyView, period_s: float, own: ArrayLike
) -> Proposals:
    """What the weights law makes of a short look between two cycles alone: it can move away, and nothing back.

    `believed` is over the frame's names, and stays as it is; `own` (B,) as in `decide`.
    """
    index = frame.index
    seen, found = backends.turned(frame)
    cost = np.zeros((len(index.services), len(index.apis)))
    load, share, calm = service_load(frame), shares(index, own), Outlook.calm(index)
    situation = Situation(frame, knobs, policy, load, believed.capacity, seen, found, cost, period_s, share, calm)
    return Proposals([weights.propose(situation)])


def _told(batch: Batch, s: Situation) -> Batch:
    """The batch with what the outlook says of each target among its evidence; still built late."""
    index, outlook = s.frame.index, s.outlook
    callee = index.edge_callee[index.api_edge] if batch.knob is Knob.RATE_LIMIT else index.edge_callee
    if not len(batch) or not ((outlook.blame > 0).any() or (outlook.growth > 1).any()):
        return batch

    def build(line: Line) -> Proposal:
        proposal, service = batch.builder(line), int(callee[line.row])
        said = {"explains_share": outlook.blame[service], "expected_growth": outlook.growth[service] - 1.0}
        found = {name: float(value) for name, value in said.items() if value > 0}
        return replace(proposal, evidence={**proposal.evidence, **found})

    return replace(batch, builder=build)


def _refused(frame: MeshFrame, load: ServiceLoad) -> NDArray[np.bool_]:
    """(S,) caps before a service, or limits of APIs that can reach it, turned away more than a trace."""
    by_caps = load.overflow > REFUSED * np.maximum(load.arrivals, 1.0)
    limited = np.nan_to_num(frame.api.limited) > REFUSED * np.maximum(np.nan_to_num(frame.api.offered), 1.0)
    by_limits = (cost_matrix.reachability(frame.index) & limited).any(axis=1)
    return np.asarray(by_caps | by_limits, np.bool_)


def _added_samples(frame: MeshFrame) -> RateSamples | None:
    """The rows that this window added."""
    samples = frame.samples
    if samples is None or not len(samples.service_arrivals):
        return None
    rows = max(1, round(frame.window_s / samples.step_s))
    return RateSamples(samples.api_admitted[-rows:], samples.service_arrivals[-rows:], samples.step_s)


def _clean(frame: MeshFrame) -> bool:
    """Whether hardly any request was refused or lost on the way, so that arrivals follow what was admitted."""
    edge = frame.edge
    lost = np.nansum(edge.overflow) + np.nansum(edge.timeouts) + np.nansum(edge.retries)
    return bool(lost <= CLEAN_OVERFLOW * max(float(np.nansum(edge.attempts)), 1e-9))
