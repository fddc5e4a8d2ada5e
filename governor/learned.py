"""What the learned stages make of a frame: who is abnormal and why, and how much load may come.

    frame -> detect, diagnose -> predict -> Outlook for the laws, words for people

Stages do not import each other; here detection and prediction meet what the laws ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from governor.decide.load import Array
from governor.decide.outlook import Outlook
from governor.detect.diagnosis import Diagnosis, diagnose
from governor.detect.mesh import rate_of, tables_of
from governor.detect.stage import DetectState, Options
from governor.domain import FloatArray, MeshFrame, MeshIndex
from governor.explain.findings import ExpectedLoad, Findings
from governor.predict import demand
from governor.predict.demand import Demand
from governor.predict.forecast import Forecast
from governor.predict.gate import Gate
from governor.predict.history import RateHistory
from governor.predict.model import TrainedForecast

SHOWN = 10
"""Services whose forecast people see."""


@dataclass(frozen=True)
class LearnedOptions:
    """How detection and prediction run."""

    detection: Options = field(default_factory=Options)
    step_s: float = 300.0
    """Seconds of one step of the load history."""


@dataclass(frozen=True, eq=False)
class LearnedState:
    """What detection and prediction remember of a mesh."""

    detection: DetectState = field(default_factory=DetectState)
    demand: Demand | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """What they say of one frame."""

    diagnosis: Diagnosis
    forecast: Forecast | None
    """Over the frame's services; None before the first whole step of history."""
    outlook: Outlook
    """For the laws."""
    findings: Findings
    """For people."""
    notes: tuple[str, ...] = ()
    """What an operator should know, such as a service that the model has lost."""

    @classmethod
    def nothing(cls, index: MeshIndex) -> Learned:
        """Nobody has looked."""
        return cls(Diagnosis.none(index), None, Outlook.calm(index), Findings())


def learn(
    state: LearnedState, frame: MeshFrame, trained: TrainedForecast | None, options: LearnedOptions
) -> tuple[LearnedState, Learned]:
    """Look at `frame`, and at the finer frames within it first; pure."""
    detection, load = state.detection, state.demand
    services = frame.index.services
    for finer in frame.within:
        detection, _ = diagnose(detection, finer, tables_of(finer), options.detection)
    tables = tables_of(frame)
    detection, diagnosis = diagnose(detection, frame, tables, options.detection)
    rate = rate_of(tables)
    before = None if load is None else load.forecast
    load = demand.observe(
        load, services, rate, at=frame.at, window_s=frame.window_s, step_s=options.step_s, trained=trained
    )
    growth = demand.growth(load, rate)
    outlook = Outlook(growth, diagnosis.abnormal, diagnosis.victim, diagnosis.blame)
    findings = Findings(diagnosis.anomalies, diagnosis.causes, tuple(_expected(load, frame, rate, growth)))
    notes = tuple(_drifted(before, load))
    return LearnedState(detection, load), Learned(diagnosis, load.forecast, outlook, findings, notes)


def remembering(services: tuple[str, ...], past: RateHistory) -> LearnedState:
    """The state before a first frame of which the load history (rows: `services`) is known."""
    demand_now = Demand.begin(services, past.end_at, past.step_s)
    return LearnedState(demand=demand.with_past(demand_now, services, past))


def _expected(load: Demand, frame: MeshFrame, rate: FloatArray, more: Array) -> Iterator[ExpectedLoad]:
    """The forecast of the services that requests enter by, and of those about to grow most."""
    found = load.forecast
    if found is None:
        return
    index = frame.index
    entries = np.unique(index.edge_callee[index.api_edge])
    growing = np.argsort(-more, kind="stable")[:SHOWN]
    chosen = [*entries[:SHOWN].tolist(), *(s for s in growing.tolist() if more[s] > 1.0 and s not in entries)]
    for service in chosen[:SHOWN]:
        for h, minutes in enumerate(found.horizons_min):
            low, middle, high = (float(v) for v in found.quantiles[service, h])
            served_by = Gate(int(found.gate[service])).sentence
            yield ExpectedLoad(
                index.services[service], float(rate[service]), minutes, low, middle, high, served_by
            )


def _drifted(before: Forecast | None, load: Demand) -> Iterator[str]:
    now = load.forecast
    if now is before or now is None:
        return
    for service in demand.lost(before, now):
        yield f"load forecast of {load.services[service]}: {Gate(int(now.gate[service])).sentence}"
