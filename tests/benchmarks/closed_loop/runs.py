"""Finished trials, each beside its optimum, and how to find them by scenario, arm and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from governor.lab.arrivals import arrivals
from governor.lab.clairvoyant import Clairvoyant, clairvoyant
from governor.lab.documents import Scenario
from governor.lab.report.build import fault_bands
from governor.lab.results import LoadResult
from tests.benchmarks.closed_loop import scores
from tests.benchmarks.closed_loop.arms import ARM_NAMES
from tests.benchmarks.closed_loop.lanes import Finished
from tests.benchmarks.closed_loop.trial import Outcome, Trial

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """One finished trial."""

    trial: Trial
    outcome: Outcome
    optimum: Clairvoyant

    @property
    def seed(self) -> int:
        """Seed of the arrivals."""
        return self.trial.scenario.seed

    @property
    def load(self) -> LoadResult:
        """What clients saw."""
        return self.outcome.load

    @cached_property
    def goodput(self) -> Floats:
        """Requests answered well within the SLO, shape (classes, seconds)."""
        return np.stack([self.load.ok_within_slo[name] for name in self.load.class_names]).astype(float)

    def share(self, start: int, end: int) -> float:
        """Share of the optimum's goodput."""
        return scores.share(self.goodput, self.optimum.fair, start, end)

    def share_by_class(self, start: int, end: int) -> float:
        """The same, no class making up for another."""
        return scores.share_by_class(self.goodput, self.optimum.fair, start, end)

    def recovery_s(self, start: int, end: int) -> float:
        """Seconds from `start` until goodput is back for good."""
        return scores.recovery_s(self.goodput, self.optimum.fair, start, end)

    def success(self, start: int, end: int) -> float:
        """Share of requests answered well, however late."""
        return self.load.success(start, end)

    def high_in_slo(self, start: int, end: int) -> float:
        """Share of the high priority's requests answered well within the SLO; NaN where there is none."""
        high = [n for n in self.load.class_names if self.trial.scenario.api(n).priority == "high"]
        offered = sum(int(self.load.offered[n][start:end].sum()) for n in high)
        good = sum(int(self.load.ok_within_slo[n][start:end].sum()) for n in high)
        return good / offered if offered else float("nan")

    def p99_s(self, start: int, end: int) -> float:
        """99th percentile of latency, a failure counted as the timeout."""
        return self.load.latency_quantile(0.99, start, end)


@dataclass(frozen=True, eq=False)
class Runs:
    """The finished runs of one scenario."""

    scenario: Scenario
    runs: Sequence[Run]

    @classmethod
    def by_scenario(cls, scenarios: Iterable[Scenario], runs: Sequence[Run]) -> list[Self]:
        """One for each scenario, in that order, with its runs."""
        return [cls(s, [run for run in runs if run.trial.scenario.name == s.name]) for s in scenarios]

    @property
    def episode(self) -> tuple[int, int]:
        """When something is wrong, in whole seconds [from, to)."""
        return episode(self.scenario)

    @property
    def through(self) -> bool:
        """Whether a control plane configured the Envoys."""
        return any(run.trial.through is not None for run in self.runs)

    def arm(self, name: str) -> dict[int, Run]:
        """Runs of one arm by seed, ascending."""
        return {run.seed: run for run in sorted(self.runs, key=lambda r: r.seed) if run.trial.arm == name}

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms that have a run, the governor last."""
        there = {run.trial.arm for run in self.runs}
        return tuple(name for name in ARM_NAMES if name in there)

    def values(self, arm: str, figure: Callable[[Run], float]) -> tuple[float, ...]:
        """One figure over the seeds of an arm."""
        return tuple(figure(run) for run in self.arm(arm).values())


def episode(scenario: Scenario) -> tuple[int, int]:
    """When something is wrong, in whole seconds [from, to): the first fault or overload, else the whole run."""
    seconds = int(np.ceil(scenario.duration_s))
    bands = fault_bands(scenario, seconds)
    return (round(bands[0].start_s), round(bands[0].end_s)) if bands else (0, seconds)


def with_optimum(finished: Iterable[Finished]) -> list[Run]:
    """The runs that have an outcome; one optimum for all arms of a scenario and seed, from their arrivals."""
    optima: dict[tuple[str, int], Clairvoyant] = {}
    runs = []
    for done in finished:
        if done.outcome is None:
            continue
        scenario = done.trial.scenario
        key = scenario.name, scenario.seed
        if key not in optima:
            optima[key] = clairvoyant(scenario, drawn(scenario))
        runs.append(Run(done.trial, done.outcome, optima[key]))
    return runs


def drawn(scenario: Scenario) -> dict[str, NDArray[np.int64]]:
    """Requests that clients mean to send, per class and second."""
    seconds = int(np.ceil(scenario.duration_s - 1e-9))
    times, classes = arrivals(scenario)
    return {
        name: np.bincount(times[classes == number].astype(np.int64), minlength=seconds)[:seconds]
        for number, name in enumerate(scenario.load.classes)
    }
