"""Of several replicas one writes; the others go through the same cycles in recommend mode, ready to take over."""

from __future__ import annotations

from dataclasses import replace

import structlog

from governor.cycle import CycleOptions, GovernorState, Ports
from governor.ports import Leadership
from governor.recovery import recover
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status

log = structlog.get_logger("governor")


class Leading:
    """Says before each cycle whether it may write, and takes over what an earlier leader left."""

    def __init__(self, leadership: Leadership, ports: Ports) -> None:
        self._leadership, self._ports = leadership, ports
        self._led = False

    def before(
        self, state: GovernorState, options: CycleOptions, metrics: GovernorMetrics, status: Status
    ) -> tuple[GovernorState, CycleOptions]:
        """State and options of the next cycle: enforcing only while this replica leads.

        Raises ControlPlaneError if what an earlier process left half done cannot be put right; the next cycle
        tries again.
        """
        held = self._leadership.held()
        metrics.leader.set(held)
        status.following = "" if held else "another replica leads"
        if not held:
            self._led = False
            return state, replace(options, enforce=False)
        if not self._led:
            found, notes = recover(self._ports)
            for note in notes:
                log.warning("recovered", note=note)
            state = replace(state, memory=found.memory, pending=found.pending, baseline=found.baseline)
            self._led = True
        return state, options
