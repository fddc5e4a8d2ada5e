"""Open-loop clients of a simulated mesh: arrivals of the scenario, patience and retries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from governor.lab.arrivals import arrivals
from governor.lab.faults import retries_at
from governor.lab.results import LoadResult, Outcome

if TYPE_CHECKING:
    from tests.trajectory.simulated_mesh import Mesh

_OUTCOMES = {200: Outcome.OK, 429: Outcome.REJECTED_429, 503: Outcome.REJECTED_503, 504: Outcome.TIMEOUT}


class Clients:
    """All requests of a scenario, and what became of them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.names = tuple(mesh.scenario.load.classes)
        self.intended, self.klass = arrivals(mesh.scenario)
        count = len(self.intended)
        self.outcome = np.full(count, -1, np.int8)
        self.latency = np.zeros(count, np.float32)
        self.attempts = np.zeros(count, np.int16)
        for i, when in enumerate(self.intended.tolist()):
            mesh.at(when, partial(self._send, i))

    def _send(self, i: int) -> None:
        mesh, name = self.mesh, self.names[self.klass[i]]
        self.attempts[i] += 1
        over = [False]
        cancel: list[Callable[[], None]] = []

        def done(status: int) -> None:
            if not over[0]:
                over[0] = True
                self._attempt_over(i, _OUTCOMES.get(status, Outcome.ERROR))

        def give_up() -> None:
            if not over[0]:
                over[0] = True
                cancel[0]()
                self._attempt_over(i, Outcome.TIMEOUT)

        mesh.at(mesh.now + mesh.scenario.load.classes[name].timeout_s, give_up)
        cancel.append(mesh.enter(name, done))

    def _attempt_over(self, i: int, outcome: Outcome) -> None:
        mesh = self.mesh
        retries = retries_at(mesh.scenario, self.names[self.klass[i]], float(self.intended[i]))
        if outcome is not Outcome.OK and self.attempts[i] <= retries.attempts:
            mesh.at(mesh.now + retries.backoff_s * mesh.rng.uniform(0.5, 1.5), partial(self._send, i))
            return
        self.outcome[i] = outcome
        self.latency[i] = mesh.now - self.intended[i]

    def result(self) -> LoadResult:
        scenario, closed = self.mesh.scenario, self.outcome >= 0
        return LoadResult(
            self.names,
            scenario.duration_s,
            scenario.slo.latency_s,
            scenario.slo.timeout_s,
            self.intended[closed],
            self.klass[closed],
            self.outcome[closed],
            self.latency[closed],
            self.attempts[closed],
        )
