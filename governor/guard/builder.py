"""Single proposals of a cycle, made whole: built, put within their bounds, and asked the two late questions.

What was made whole and held is kept: the ledger and the instance's page look at the same ones.
"""

from __future__ import annotations

import numpy as np

from governor.guard.bounds import bounded, within_dead_band
from governor.guard.gates import Conditions, words
from governor.guard.held import Held
from governor.knobs import Proposal
from governor.policy_view import Rules
from governor.proposals import Proposals, Rows
from governor.reasons import Reason

Stop = tuple[Reason, str]

LOOKS = 500
"""Proposals of one knob under one policy that a cycle builds at most, so that one which the control plane cannot
express costs neither the cycle's time nor the other knobs their turn."""

BEFORE_BOUNDS = frozenset({Reason.STALE, Reason.LOW_TRUST, Reason.MODE_OFF, Reason.SUPPRESSED})
"""Gates that say more about a proposal than its value does."""


class Builder:
    """Makes proposals of one cycle whole."""

    def __init__(self, proposals: Proposals, at: Conditions) -> None:
        self._proposals = proposals
        self._at = at
        self._kept: dict[int, Held] = {}
        self._spent: set[str] = set()
        offered, answered = np.nansum(at.frame.api.offered), np.nansum(at.frame.edge.rate)
        self._total = max(float(offered), float(answered), 1e-9)

    def bounded(self, position: int) -> Proposal:
        """The proposal at `position` of the cycle's proposals, within its policy's bounds."""
        batch, i = self._proposals.locate(position)
        proposal = batch.build(i)
        rules = self._at.policy.rules_for(proposal.target)
        if rules is None:
            return proposal
        flapping = self._at.memory.of(proposal.target, proposal.knob).flapping
        return bounded(proposal, rules.knob(proposal.knob), flapping=flapping)

    def late(self, proposal: Proposal, rules: Rules) -> Stop | None:
        """What only a whole proposal shows: too little is left to change, or the control plane cannot say it."""
        if proposal.proposed == proposal.current:
            return Reason.DEAD_BAND, "the bounds leave nothing to change"
        if within_dead_band(proposal, rule := rules.knob(proposal.knob)):
            return Reason.DEAD_BAND, f"the change left is below {rule.dead_band:.0%}"
        if (refused := self._at.refusal(proposal)) is not None:
            return Reason.REFUSED, refused
        return None

    def share(self, proposal: Proposal) -> float:
        """Share of the mesh's requests that the proposal touches, 0..1."""
        return proposal.traffic / self._total

    def turn(self, free: Rows) -> Rows:
        """What this cycle looks at of `free`, most protecting first.

        Of more than `LOOKS` of one knob the first half is looked at in every cycle, and the rest by turns: what
        is in vain today must not keep others waiting for good.
        """
        chosen = np.ones(len(free), np.bool_)
        half = LOOKS // 2
        for _, place in self._proposals.pieces():
            mine = np.flatnonzero((free >= place.start) & (free < place.stop))
            if len(mine) > LOOKS:
                rest = np.roll(mine[half:], -half * self._at.number)
                chosen[rest[half:]] = False
        return free[chosen]

    def spent(self, rules: Rules) -> None:
        """Remember that a policy has no write left in this cycle."""
        self._spent.add(rules.name)

    def keep(self, position: int, held: Held) -> None:
        """Remember a proposal that was built and then held."""
        self._kept[position] = held

    def held(self, position: int, gate: Reason) -> Held:
        """The proposal at `position`, held by `gate` or by what only shows now that it is built."""
        if position not in self._kept:
            self._kept[position] = self._held(position, gate)
        return self._kept[position]

    def _held(self, position: int, gate: Reason) -> Held:
        proposal = self.bounded(position)
        rules = self._at.policy.rules_for(proposal.target)
        if rules is None:
            return Held(proposal, Reason.NOT_SELECTED)
        if gate not in BEFORE_BOUNDS and (late := self.late(proposal, rules)) is not None:
            return Held(proposal, *late)
        if gate is Reason.BLAST_RADIUS:
            return Held(proposal, gate, self._radius(rules))
        batch, i = self._proposals.locate(position)
        return Held(proposal, gate, words(gate, batch.line(i), proposal, rules, self._at))

    def _radius(self, rules: Rules) -> str:
        if rules.name in self._spent:
            return f"{rules.blast_radius.writes_per_cycle} writes a cycle"
        return f"{LOOKS} changes of a knob looked at a cycle"
