"""What somebody who knows the scenario could at best deliver: a fluid bound, second by second.

For each second, over the API classes j of one priority after the other:

    maximise lexicographically  sort(x_j / w_j)   subject to   sum_j v_sj x_j <= C_s,   0 <= x_j <= d_j

v_sj visits of j at service s, C_s requests/s the service can complete then, d_j offered rate, w_j the
API's weight (weighted max-min fairness, Bertsekas & Gallager, Data Networks, 6.5.2). It is a bound of
a fluid: no randomness, no queues carried over from one second to the next. Fast errors cost no
work and can be retried elsewhere, so a failing replica takes nothing away; a slow one gives its
slower rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from governor.errors import LabError
from governor.lab.documents import Scenario
from governor.lab.faults import rate_schedule

Floats = NDArray[np.float64]
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Clairvoyant:
    """Requests/s per second of the run, shape (classes, seconds); rows in the order of the classes."""

    class_names: tuple[str, ...]
    fair: Floats
    """By priority, weighted max-min fair within one: the optimum scores are a share of."""
    unfair: Floats
    """By priority, the largest sum within one, whoever pays for it: the plain linear program."""

    def goodput(self, start_s: float, end_s: float, api: str | None = None) -> float:
        """Mean of the fair optimum over the seconds [start_s, end_s), in requests/s."""
        return self._mean(self.fair, start_s, end_s, api)

    def largest_sum(self, start_s: float, end_s: float, api: str | None = None) -> float:
        """Mean of the plain linear program over the seconds [start_s, end_s), in requests/s."""
        return self._mean(self.unfair, start_s, end_s, api)

    def _mean(self, rates: Floats, start_s: float, end_s: float, api: str | None) -> float:
        chosen = rates if api is None else rates[[self.class_names.index(api)]]
        return float(chosen[:, round(start_s) : round(end_s)].sum(axis=0).mean())


def clairvoyant(scenario: Scenario, offered: Mapping[str, NDArray[np.int64]] | None = None) -> Clairvoyant:
    """The optimum for a scenario; `offered` (requests per class and second) replaces its mean rates.

    With the arrivals that were really drawn the comparison is free of their noise.
    """
    names = tuple(scenario.load.classes)
    seconds = int(np.ceil(scenario.duration_s - 1e-9))
    demand = np.stack(
        [mean_rates(scenario, n) if offered is None else offered[n][:seconds] for n in names]
    ).astype(float)
    capacity = capacities(scenario)
    visits = visit_matrix(scenario, names)
    weights = np.array([scenario.api(name).weight for name in names])
    high = np.array([scenario.api(name).priority == "high" for name in names])
    solved: dict[bytes, tuple[Floats, Floats]] = {}
    fair, unfair = np.zeros_like(demand), np.zeros_like(demand)
    for second in range(seconds):
        wanted, available = demand[:, second], capacity[:, second]
        key = wanted.tobytes() + available.tobytes()
        if key not in solved:
            solved[key] = _by_priority(visits, available, wanted, weights, high)
        fair[:, second], unfair[:, second] = solved[key]
    return Clairvoyant(names, fair, unfair)


def mean_rates(scenario: Scenario, class_name: str) -> Floats:
    """Scheduled rate of a class in each second (requests/s), spikes included."""
    return _per_second(scenario, rate_schedule(scenario, class_name))


def capacities(scenario: Scenario) -> Floats:
    """Requests/s each service can complete in each second, shape (services, seconds)."""
    rows = []
    for service in scenario.topology.services:
        total = np.zeros(int(np.ceil(scenario.duration_s - 1e-9)))
        faults = [fault for fault in scenario.faults if fault.service == service.name]
        for index in range(service.replicas):
            own = [fault for fault in faults if fault.replica in (None, index)]
            times = {0.0, scenario.duration_s}
            times |= {time for fault in own for time in (fault.at_s, fault.at_s + fault.for_s)}
            marks = sorted(time for time in times if time <= scenario.duration_s)
            pieces = []
            for begin, end in pairwise(marks):
                rate = service.workers / service.service_time_s
                for fault in own:
                    if fault.at_s <= begin < fault.at_s + fault.for_s and fault.factor is not None:
                        if fault.kind == "capacity_drop":
                            workers = max(1, round(service.workers * fault.factor))
                            rate *= workers / service.workers
                        else:
                            rate /= fault.factor
                pieces.append((begin, end, rate))
            total += _per_second(scenario, pieces)
        rows.append(total)
    return np.stack(rows)


def visit_matrix(scenario: Scenario, names: tuple[str, ...]) -> Floats:
    """How often a request of each class visits each service, shape (services, classes)."""
    services = [service.name for service in scenario.topology.services]
    visits = np.zeros((len(services), len(names)))
    for column, name in enumerate(names):
        for call in scenario.api(name).calls.walk():
            visits[services.index(call.service), column] += 1
    return visits


def _per_second(scenario: Scenario, pieces: list[tuple[float, float, float]]) -> Floats:
    """Piecewise constant values (from, to, value) averaged over each second."""
    marks = np.array([pieces[0][0], *(end for _, end, _ in pieces)])
    total = np.concatenate([[0.0], np.cumsum([(end - start) * v for start, end, v in pieces])])
    edges = np.arange(int(np.ceil(scenario.duration_s - 1e-9)) + 1, dtype=float)
    return np.diff(np.interp(edges, marks, total))


def _by_priority(
    visits: Floats, capacity: Floats, demand: Floats, weights: Floats, high: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    results = []
    for solve in (max_min, largest_sum):
        rates, left = np.zeros_like(demand), capacity.copy()
        for tier in (high, ~high):
            if tier.any():
                rates[tier] = solve(visits[:, tier], left, demand[tier], weights[tier])
                left = np.maximum(left - visits[:, tier] @ rates[tier], 0.0)
        results.append(rates)
    return results[0], results[1]


def largest_sum(visits: Floats, capacity: Floats, demand: Floats, _weights: Floats) -> Floats:
    """Max sum x, visits @ x <= capacity, 0 <= x <= demand."""
    return _solve(-np.ones(len(demand)), visits, capacity, np.zeros(len(demand)), demand)


def max_min(visits: Floats, capacity: Floats, demand: Floats, weights: Floats) -> Floats:
    """Weighted max-min fair rates by progressive filling, one linear program a step.

    Raise all free rates x_j = w_j t together as far as they go; then fix each that cannot be
    raised alone, with the others held at what they have.
    """
    count = len(demand)
    rates = np.zeros(count)
    free = demand > 0
    while free.any():
        # the variables are x and the common level t, which is maximised
        levels = np.where(free, weights, 0.0)
        equal = np.hstack([np.eye(count), -levels[:, None]])[free]
        lower = np.append(np.where(free, 0.0, rates), 0.0)
        upper = np.append(np.where(free, demand, rates), np.inf)
        cost = np.append(np.zeros(count), -1.0)
        matrix = np.hstack([visits, np.zeros((len(visits), 1))])
        level = _solve(cost, matrix, capacity, lower, upper, equal)[-1]
        rates = np.where(free, weights * level, rates)
        slack = _TOLERANCE * (1.0 + rates)
        for index in np.flatnonzero(free):
            cost = np.zeros(count)
            cost[index] = -1.0
            most = _solve(cost, visits, capacity, np.minimum(rates, demand), demand)[index]
            if most <= rates[index] + slack[index]:
                free[index] = False
    return rates


def _solve(
    cost: Floats,
    matrix: Floats,
    capacity: Floats,
    lower: Floats,
    upper: Floats,
    equal: Floats | None = None,
) -> Floats:
    slack = _TOLERANCE * (1.0 + capacity)  # rates of earlier steps carry rounding
    bounds = list(zip(np.minimum(lower, upper), upper, strict=True))
    rights = None if equal is None else np.zeros(len(equal))
    found = linprog(cost, matrix, capacity + slack, equal, rights, bounds, method="highs")
    if found.x is None:
        raise LabError(f"the clairvoyant's linear program has no solution: {found.message}")
    return np.asarray(found.x, dtype=float)
