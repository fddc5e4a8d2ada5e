"""Which proposals go now, and which are held and why.

First the gates that need only columns, over all proposals at once: policy selects the target, staleness, trust,
off, suppressed, pause, freeze, recommend mode, cool-down, effect of the last change seen, clean windows. What
passes is built one by one, most protecting first, and put within its bounds; it is held if what is left to change
is below the dead band, if the control plane cannot say it, or by the blast radius. Once a policy has spent its
writes, or `LOOKS` changes of a knob were looked at in vain, the rest of what it governs is held unbuilt.

A held proposal that somebody looks at is built then, within its bounds, and asked the two late questions before
any gate that concerns only writing: nobody is advised to do what changes little or cannot be said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from governor.guard.builder import Builder
from governor.guard.gates import PASSED, Conditions, gates
from governor.guard.held import Held, HeldBack
from governor.knobs import Direction, Proposal
from governor.policy_view import Rules
from governor.proposals import Codes, Proposals, Rows, code
from governor.reasons import Reason


@dataclass(frozen=True, eq=False)
class Plan:
    """What goes, in order, and what is held."""

    go: tuple[Proposal, ...]
    held: HeldBack


def make_plan(proposals: Proposals, at: Conditions) -> Plan:
    """Pass all proposals through the gates; protecting changes first, then by traffic."""
    builder = Builder(proposals, at)
    stopped = np.concatenate([np.empty(0, np.int16), *(gates(batch, at) for batch in proposals.batches)])
    order = proposals.most_protecting_first()
    governed_by = _governed_by(proposals, at)
    go: dict[int, Proposal] = {}
    for position, rules in enumerate(at.policy.rules):
        free = order[(stopped[order] == PASSED) & (governed_by[order] == position)]
        go |= _spend(free, rules, builder, stopped)
    going = [int(i) for i in order[stopped[order] == PASSED]]
    held = order[stopped[order] != PASSED]
    return Plan(tuple(go[i] for i in going), HeldBack(proposals, stopped, held, builder.held))


def _governed_by(proposals: Proposals, at: Conditions) -> Rows:
    """(P,) position of each proposal's policy, -1 where there is none."""
    parts = [at.policy.rules_of(batch.knob)[batch.rows] for batch in proposals.batches]
    return np.concatenate([np.empty(0, np.intp), *parts])


def _spend(free: Rows, rules: Rules, builder: Builder, stopped: Codes) -> dict[int, Proposal]:
    """What one policy lets go of `free`; the rest is marked in `stopped`.

    Blast radius: writes of any kind are counted, traffic only where it is shifted.
    """
    radius, shifted = rules.blast_radius, 0.0
    go: dict[int, Proposal] = {}
    stopped[free] = code(Reason.BLAST_RADIUS)
    for position in builder.turn(free).tolist():
        if len(go) >= radius.writes_per_cycle:
            builder.spent(rules)
            break
        proposal = builder.bounded(position)
        share = builder.share(proposal) if proposal.direction is Direction.SHIFT else 0.0
        stop = builder.late(proposal, rules)
        if stop is None and shifted + share > radius.traffic_share:
            stop = Reason.BLAST_RADIUS, f"{radius.traffic_share:.0%} of traffic a cycle"
        if stop is None:
            go[position], shifted = proposal, shifted + share
        else:
            builder.keep(position, Held(proposal, *stop))
        stopped[position] = PASSED if stop is None else code(stop[0])
    return go
