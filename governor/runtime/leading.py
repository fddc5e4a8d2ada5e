"""Of several replicas one writes; the others go through the same cycles in recommend mode, ready to take over."""

from __future__ import annotations

from dataclasses import replace

import structlog

from governor.errors import NotLeader
from governor.guard.memory import GuardMemory
from governor.ports import Leadership
from governor.recovery import recover
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import CycleOptions, GovernorState, Ports

log = structlog.get_logger("governor")


class Leading:
    """Says before each cycle whether it may write, and takes over what an earlier leader left."""

    def __init__(self, leadership: Leadership, ports: Ports, metrics: GovernorMetrics, status: Status) -> None:
        self._leadership, self._ports, self._status = leadership, ports, status
        self._led = False
        # Asked at each scrape: between two cycles leadership may come and go.
        metrics.leader.set_function(leadership.held)

    @property
    def leads(self) -> bool:
        """Whether this replica has taken over and may still write."""
        return self._led and self._leadership.held()

    def before(self, state: GovernorState, options: CycleOptions) -> tuple[GovernorState, CycleOptions]:
        """State and options of the next cycle: enforcing only while this replica leads.

        Raises ControlPlaneError if what an earlier process left half done cannot be put right; the next cycle
        tries again.
        """
        try:
            token = self._leadership.token()
        except NotLeader as error:
            self._status.following = str(error)
            return self._following(state, str(error)), replace(options, enforce=False)
        self._status.following = ""
        if not self._led:
            found, notes = recover(self._ports)
            for note in notes:
                log.warning("recovered", note=note)
            state = replace(state, memory=found.memory, pending=found.pending, baseline=found.baseline)
            self._led = True
            log.info("this replica leads", term=token)
        return state, options

    def _following(self, state: GovernorState, why: str) -> GovernorState:
        """Go on watching; what was written is the next leader's to judge and to give back."""
        if not self._led:
            return state
        self._led = False
        log.warning("this replica no longer leads", why=why)
        return replace(state, memory=GuardMemory(), pending=(), baseline={})
