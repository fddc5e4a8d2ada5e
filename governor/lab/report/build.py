"""From two load results and a ledger to the report's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from governor.lab.clairvoyant import capacities, clairvoyant, mean_rates, visit_matrix
from governor.lab.documents import Fault, Scenario
from governor.lab.report.data import Arm, ArmName, FaultBand, Finding, ReportData, Score, Series
from governor.lab.report.learned_lines import anomaly_spans, load_forecasts
from governor.lab.report.ledger_lines import decisions, panels
from governor.lab.results import LoadResult, Outcome
from governor.ports import Entry

Floats = NDArray[np.float64]

RECOVERED_SHARE = 0.9
"""Goodput is back when it reaches this share of the optimum ..."""
RECOVERED_OVER_S = 3
"""... on average over this many seconds."""


def report_data(
    scenario: Scenario,
    governed: LoadResult,
    ungoverned: LoadResult,
    entries: Sequence[Entry],
    epoch: float,
    backend_names: Mapping[str, str] | None = None,
    retries: Mapping[ArmName, Floats] | None = None,
) -> ReportData:
    """What the page shows. `epoch` is the start of the governed run's load, in seconds since the epoch.

    `entries` are the governed run's ledger in any order; `backend_names` replaces backends' addresses by
    words; `retries` are the proxies' second and further attempts in each second, where somebody counted them.
    A share is goodput over the fluid optimum of the same arm's own arrivals.
    """
    sent_again = retries or {}
    seconds = min(governed.seconds, ungoverned.seconds)
    bands = fault_bands(scenario, seconds)
    optima = {arm: _optimum(scenario, result, seconds) for arm, result in (("g", governed), ("u", ungoverned))}
    found = []
    for number, band in enumerate(bands):
        later = [other.start_s for other in bands[number + 1 :] if other.start_s >= band.end_s]
        until = min([*later, float(seconds)])
        found.append(
            Finding(
                band,
                _mean(optima["g"], band),
                _score(governed, optima["g"], band, until),
                _score(ungoverned, optima["u"], band, until),
            )
        )
    return ReportData(
        title=scenario.name.replace("_", " "),
        description=scenario.description,
        epoch=epoch,
        duration_s=float(seconds),
        slo_s=scenario.slo.latency_s,
        timeout_s=scenario.slo.timeout_s,
        optimum=_series(optima["g"]),
        governed=arm_of("governed", governed, seconds, sent_again.get("governed")),
        ungoverned=arm_of("ungoverned", ungoverned, seconds, sent_again.get("ungoverned")),
        findings=tuple(found),
        panels=panels(entries, epoch, float(seconds), backend_names or {}),
        decisions=decisions(entries, epoch, backend_names or {}),
        anomalies=anomaly_spans(entries, epoch, float(seconds)),
        loads=load_forecasts(entries, epoch, float(seconds)),
    )


def arm_of(name: ArmName, result: LoadResult, seconds: int | None = None, retries: Floats | None = None) -> Arm:
    """The per-second series of one run, its first `seconds` seconds."""
    count = result.seconds if seconds is None else seconds
    offered = _total(result.offered)[:count]
    with np.errstate(invalid="ignore", divide="ignore"):
        success = _total(result.ok)[:count] / offered
    return Arm(
        name=name,
        offered=_series(offered),
        goodput=_series(_total(result.ok_within_slo)[:count]),
        goodput_by_class={api: _series(values[:count]) for api, values in result.ok_within_slo.items()},
        p99_s=_series(_p99(result)[:count]),
        success=_series(success),
        retries=() if retries is None else _series(retries[:count]),
    )


def by_second(totals: Mapping[int, float], seconds: int) -> Floats:
    """Growth of a counter in each of `seconds` seconds; `totals` are its values at the end of second 1, 2, ...

    NaN where a value is missing, or smaller than the one before (the counter began anew).
    """
    values = np.array([0.0, *(totals.get(second, math.nan) for second in range(1, seconds + 1))])
    growth: Floats = np.diff(values)
    growth[growth < 0] = math.nan
    return growth


def fault_bands(scenario: Scenario, seconds: int) -> tuple[FaultBand, ...]:
    """The scenario's faults within the first `seconds`, and times of a scheduled load above capacity."""
    bands = [
        FaultBand(fault.at_s, min(fault.at_s + fault.for_s, float(seconds)), label(fault))
        for fault in scenario.faults
        if fault.at_s < seconds
    ]
    for start, end in _overloads(scenario, seconds):
        if not any(band.start_s < end and start < band.end_s for band in bands):
            bands.append(FaultBand(start, end, "demand above capacity"))
    return tuple(sorted(bands, key=lambda band: (band.start_s, band.end_s)))


def label(fault: Fault) -> str:
    """What the scenario calls a fault, else a few words: `cart replica 2: 10 × slower`."""
    if fault.label is not None:
        return fault.label
    match fault.kind:
        case "capacity_drop":
            return f"{_where(fault)} keeps {100 * (fault.factor or 0):.0f} % of its workers"
        case "slow_replica":
            return f"{_where(fault)}: {fault.factor:g} × slower"
        case "failing_replica":
            return f"{_where(fault)} fails {100 * (fault.error_rate or 0):.0f} % of requests"
        case "load_spike":
            return f"{fault.api or 'all'} load × {fault.factor:g}"
        case "retry_happy_clients":
            return f"{fault.api or 'all'} clients retry {fault.attempts} times"


def _where(fault: Fault) -> str:
    return f"{fault.service}" if fault.replica is None else f"{fault.service} replica {fault.replica}"


def _overloads(scenario: Scenario, seconds: int) -> list[tuple[float, float]]:
    """Stretches (from s, to s) in which the mean rates offered exceed some service's capacity."""
    names = tuple(scenario.load.classes)
    demand = visit_matrix(scenario, names) @ np.stack([mean_rates(scenario, name) for name in names])
    above: NDArray[np.bool_] = np.any(np.greater(demand, capacities(scenario) * (1 + 1e-9)), axis=0)[:seconds]
    marks = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(int), [0]])))
    return [(float(start), float(end)) for start, end in pairwise(marks) if above[start]]


def _optimum(scenario: Scenario, result: LoadResult, seconds: int) -> Floats:
    whole = int(np.ceil(scenario.duration_s - 1e-9))
    offered = {}
    for name in scenario.load.classes:
        there = result.offered[name][: min(whole, seconds)]
        offered[name] = np.pad(there, (0, whole - len(there)))
    total: Floats = clairvoyant(scenario, offered).fair.sum(axis=0)
    # a run drawn out beyond its scenario has no known capacity after it
    return np.pad(total, (0, max(0, seconds - whole)), constant_values=np.nan)[:seconds]


def _score(result: LoadResult, optimum: Floats, band: FaultBand, until: float) -> Score:
    goodput = _total(result.ok_within_slo)[: len(optimum)]
    best, reached = _mean(optimum, band), _mean(goodput, band)
    share = reached / best if best > 0 else math.nan
    after = FaultBand(band.end_s, until, "")
    best_after = _mean(optimum, after) if until - band.end_s >= 1 else math.nan
    share_after = _mean(goodput, after) / best_after if best_after > 0 else math.nan
    return Score(reached, share, share_after, _recovery(goodput, optimum, round(band.end_s), round(until)))


def _recovery(goodput: Floats, optimum: Floats, end: int, until: int) -> float:
    if until - end < RECOVERED_OVER_S:
        return math.nan
    for second in range(end, until - RECOVERED_OVER_S + 1):
        window = slice(second, second + RECOVERED_OVER_S)
        if goodput[window].sum() >= RECOVERED_SHARE * optimum[window].sum():
            return float(second - end)
    return math.inf


def _mean(values: Floats, band: FaultBand) -> float:
    chosen = values[round(band.start_s) : max(round(band.end_s), round(band.start_s) + 1)]
    return float(chosen.mean()) if len(chosen) else math.nan


def _p99(result: LoadResult) -> Floats:
    latency = np.where(result.outcome == Outcome.OK, result.latency, result.timeout_s)
    second = result.intended.astype(np.int64)
    order = np.argsort(second, kind="stable")
    found = np.full(result.seconds, np.nan)
    bounds = np.searchsorted(second[order], np.arange(result.seconds + 1))
    for number, (start, end) in enumerate(pairwise(bounds)):
        if end > start:
            found[number] = np.quantile(latency[order[start:end]], 0.99)
    return found


def _total(by_class: Mapping[str, NDArray[np.int64]]) -> Floats:
    total: Floats = np.stack([*by_class.values()]).sum(axis=0, dtype=float)
    return total


def _series(values: NDArray[np.generic]) -> Series:
    return tuple(round(float(v), 6) if math.isfinite(v) else None for v in values.astype(float))
