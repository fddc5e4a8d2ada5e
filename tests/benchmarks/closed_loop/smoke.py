"""The short form for CI: shows that the benchmark works and that governing helps; it judges no target."""

from __future__ import annotations

import numpy as np

from governor.lab.documents import Scenario
from tests.benchmarks.closed_loop.arms import GOVERNOR, NOTHING
from tests.benchmarks.closed_loop.runs import Runs, episode
from tests.benchmarks.table import Row

SCENARIOS = ("overload", "gray_failure")
ARMS = (NOTHING, GOVERNOR)
BEFORE_S, DURING_S, AFTER_S = 8.0, 20.0, 2.0


def shortened(scenario: Scenario) -> Scenario:
    """The scenario with the time before, during and after its episode stretched to 8, 20 and 2 s; rates stay."""
    start, end = episode(scenario)
    old = [0.0, start, end, scenario.duration_s]
    new = [0.0, BEFORE_S, BEFORE_S + DURING_S, BEFORE_S + DURING_S + AFTER_S]

    def at(time_s: float) -> float:
        return float(np.interp(time_s, old, new))

    document = scenario.model_dump()
    for load in document["load"]["classes"].values():
        marks = np.cumsum([0.0, *(duration for duration, _ in load["schedule"])])
        warped = [at(mark) for mark in marks]
        rates = [rate for _, rate in load["schedule"]]
        load["schedule"] = [(b - a, r) for a, b, r in zip(warped, warped[1:], rates, strict=False) if b > a]
    for fault in document["faults"]:
        over = at(fault["at_s"] + fault["for_s"])
        fault["at_s"] = at(fault["at_s"])
        fault["for_s"] = over - fault["at_s"]
    document |= {"duration_s": at(scenario.duration_s), "warmup_s": at(scenario.warmup_s)}
    return Scenario.model_validate(document)


def rows(runs: Runs) -> list[Row]:
    """Loose bounds for the last half of the episode."""
    start, end = runs.episode
    start += round(DURING_S / 2)

    def row(arm: str, what: str, values: tuple[float, ...], bound: float, *, at_least: bool = True) -> Row:
        return Row(f"smoke check, {runs.scenario.name}, {arm}: {what}", values, "", bound, at_least)

    if runs.scenario.name == "overload":
        governed = runs.values(GOVERNOR, lambda r: r.share(start, end))
        ungoverned = runs.values(NOTHING, lambda r: r.share(start, end))
        return [
            row(NOTHING, "share of optimum", ungoverned, 0.3, at_least=False),
            row(GOVERNOR, "share of optimum", governed, 0.6),
        ]
    governed = runs.values(GOVERNOR, lambda r: r.success(start, end))
    # Least request alone keeps most users served: what shows the slow replica is the tail.
    tail = runs.values(NOTHING, lambda r: r.p99_s(start, end))
    return [
        row(NOTHING, "p99 s", tail, 0.6),
        row(GOVERNOR, "success", governed, 0.95),
        row(GOVERNOR, "p99 s", runs.values(GOVERNOR, lambda r: r.p99_s(start, end)), 1.0, at_least=False),
    ]
