"""When requests are meant to be sent: drawn beforehand from the schedule and the seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from governor.lab.documents import Scenario
from governor.lab.faults import rate_schedule


def arrivals(scenario: Scenario) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Intended send times (s, ascending) and the number of each request's class.

    Classes count in the order of `load.classes`. The same scenario and seed give the same arrivals.
    """
    times, classes = [], []
    for number, (name, load) in enumerate(scenario.load.classes.items()):
        rng = np.random.default_rng([scenario.seed, number])
        for start, end, rate in rate_schedule(scenario, name):
            if load.arrivals == "poisson":
                count = rng.poisson(rate * (end - start))
                piece = np.sort(rng.uniform(start, end, count))
            else:
                count = round(rate * (end - start))
                piece = start + (np.arange(count) + 0.5) * (end - start) / max(count, 1)
            times.append(piece)
            classes.append(np.full(len(piece), number, dtype=np.int8))
    intended, klass = np.concatenate(times), np.concatenate(classes)
    order = np.argsort(intended, kind="stable")
    return intended[order], klass[order]
