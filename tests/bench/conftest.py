"""Made-up runs for the tests of the benchmark's scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from governor.lab.arrivals import arrivals
from governor.lab.clairvoyant import clairvoyant
from governor.lab.document_files import load_scenario
from governor.lab.results import LoadResult
from governor.lab.results import Outcome as Answer
from tests.benchmarks.closed_loop.runs import Run, drawn
from tests.benchmarks.closed_loop.trial import Outcome, Trial, Write

Latency = Callable[[np.ndarray], np.ndarray]
"""Latency in s by time of the request; infinite: a failure."""


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """A run of a shipped scenario in which every request's fate is a function of its time."""

    def make(scenario: str, arm: str, latency: Latency, seed: int = 1, writes: tuple[Write, ...] = ()) -> Run:
        document = load_scenario(scenario).model_copy(update={"seed": seed})
        intended, klass = arrivals(document)
        took = latency(intended)
        good = np.isfinite(took)
        load = LoadResult(
            tuple(document.load.classes),
            document.duration_s,
            document.slo.latency_s,
            document.slo.timeout_s,
            intended,
            klass,
            np.where(good, Answer.OK, Answer.TIMEOUT).astype(np.int8),
            np.where(good, took, document.slo.timeout_s).astype(np.float32),
            np.ones(len(intended), dtype=np.int16),
        )
        outcome = Outcome(load, writes, 0, {}, 0.0)
        return Run(Trial(document, arm, arm == "governor"), outcome, clairvoyant(document, drawn(document)))

    return make
