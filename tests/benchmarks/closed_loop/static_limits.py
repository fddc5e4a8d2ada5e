"""Static limits as a careful operator would set them, who knows the mesh and its peak load, but no faults.

Both start from the nominal allocation: with all replicas well, the high priority gets its scheduled peak, and
the low classes share what is left (weighted max-min).

    rate limit of a low class   its share where the services may be filled to 90 %
    in-flight cap of a service  2 * sum over classes and calls of (rate * time of the calls below, unqueued)

The high priority has no rate limit: at its peak it fits. The cap is Little's law at full capacity, doubled, so
that one request may wait for each that is worked on; a service called over several edges has on each the cap
that the busiest of them needs.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from governor.lab.clairvoyant import capacities, max_min, mean_rates, visit_matrix
from governor.lab.documents import Call, Scenario
from governor.lab.layout import INGRESS

FILLED = 0.9
"""Share of the nominal capacity that the rate limits let in."""
HEADROOM = 2.0
"""In-flight cap over what Little's law gives at full capacity."""

Floats = NDArray[np.float64]


def static_rate_limits(scenario: Scenario) -> dict[str, float]:
    """Requests/s for each low-priority class."""
    rates = nominal_rates(scenario, FILLED)
    return {name: rate for name, rate in rates.items() if scenario.api(name).priority == "low"}


def static_caps(scenario: Scenario) -> dict[str, int]:
    """Requests in flight for each service, on each edge that leads to it."""
    in_flight: defaultdict[tuple[str, str], float] = defaultdict(float)
    for name, rate in nominal_rates(scenario, 1.0).items():
        for caller, call in _edges(INGRESS, scenario.api(name).calls):
            in_flight[caller, call.service] += rate * _time_s(scenario, call)
    caps: dict[str, int] = {}
    for (_, callee), busy in in_flight.items():
        cap = math.ceil(HEADROOM * busy * (1 - 1e-6))  # the linear program is exact to 1e-7 only
        caps[callee] = max(caps.get(callee, 1), cap)
    return caps


def nominal_rates(scenario: Scenario, filled: float) -> dict[str, float]:
    """Requests/s of each class in the nominal allocation, services filled to the share `filled`."""
    names = tuple(scenario.load.classes)
    well = scenario.model_copy(update={"faults": ()})
    capacity: Floats = filled * capacities(well).min(axis=1)
    visits = visit_matrix(well, names)
    peak = np.array([mean_rates(well, name).max() for name in names])
    high = np.array([well.api(name).priority == "high" for name in names])
    weights = np.array([well.api(name).weight for name in names])
    left = np.maximum(capacity - visits[:, high] @ peak[high], 0.0)
    wanted = np.full(int((~high).sum()), capacity.max())  # as much as there is: a limit, not a forecast
    rates = peak.copy()
    if (~high).any():
        rates[~high] = max_min(visits[:, ~high], left, wanted, weights[~high])
    return dict(zip(names, rates.tolist(), strict=True))


def _edges(caller: str, call: Call) -> list[tuple[str, Call]]:
    below = [pair for inner in call.calls for pair in _edges(call.service, inner)]
    return [(caller, call), *below]


def _time_s(scenario: Scenario, call: Call) -> float:
    return sum(scenario.topology.service(inner.service).service_time_s for inner in call.walk())
