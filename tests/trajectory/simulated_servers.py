"""Replicas of a simulated mesh: the lab's own queue model with its faults, in virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from governor.lab.queueing import Replica
from governor.lab.service_plan import FaultAction

if TYPE_CHECKING:
    from tests.trajectory.simulated_mesh import Mesh

Done = Callable[[int], None]
"""Told the status of an answer."""
Job = tuple[int, float, Done]
"""A place in a call tree, when it came, and who waits."""


class Server:
    """One replica with its faults."""

    def __init__(self, mesh: Mesh, service: str, index: int, replica: Replica[Job]) -> None:
        self.mesh, self.service, self.index = mesh, service, index
        self.queue = replica
        self.nominal = replica.workers
        self.error_rate = 0.0
        self.completed = 0
        self.duration_s = 0.0
        self.rng = random.Random(f"{mesh.scenario.seed}/{service}-{index}")
        self._due = math.inf

    def request(self, job: Job) -> None:
        if self.error_rate and self.rng.random() < self.error_rate:
            job[2](500)
            return
        self.advance()
        if not self.queue.arrive(job, self.mesh.now):
            job[2](503)
            return
        self._schedule()

    def apply(self, action: FaultAction) -> None:
        self.advance()
        if action.workers_factor is not None:
            self.queue.set_workers(max(1, round(self.nominal * action.workers_factor)), self.mesh.now)
        if action.slowdown is not None:
            self.queue.slowdown = action.slowdown
        if action.error_rate is not None:
            self.error_rate = action.error_rate
        self._schedule()

    def advance(self) -> None:
        for done in self.queue.advance(self.mesh.now):
            _, arrived, answer = done.item
            self.mesh.own_work_done(self, done.item, arrived, answer)

    def _schedule(self) -> None:
        end = self.queue.next_end()
        if end is not None and end < self._due:
            self._due = end
            self.mesh.at(end, lambda: self._tick(end))

    def _tick(self, due: float) -> None:
        if due != self._due:
            return  # An earlier one has come between and scheduled what follows.
        self._due = math.inf
        self.advance()
        self._schedule()
