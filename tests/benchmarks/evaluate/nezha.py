"""Faults of the Nezha set, from metrics alone: Yu and others, Nezha, ESEC/FSE 2023.

Golden signals a minute and service: workload, 90th percentile of the server's latency, CPU; for Online Boutique
the call graph and the median latency of each edge at its caller and at its callee, whose difference is the way
between them. Normal is the hour before; the evidence is the five minutes after the injection, its first minute
left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from governor.detect.root_cause import CallGraph, Excess
from tests.benchmarks.evaluate.cases import Case, Departure, departure

Array = NDArray[np.float64]
LATENCY, RATE, CPU = "PodServerLatencyP90(s)", "PodWorkload(Ops)", "CpuUsageRate(%)"
OTHERS = ("MemoryUsageRate(%)", "NetworkReceiveBytes", "NetworkTransmitBytes")
BEFORE, AFTER = 60, 5
"""Minutes of normal and of evidence."""
CLEAR_WAY = 3.0
"""Robust z above which a slow way counts: medians of an edge come in steps."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One day of one system, by minute."""

    services: tuple[str, ...]
    minutes: NDArray[np.int64]
    """(T,) minutes since the epoch."""
    signals: dict[str, Array]
    """(T, N) each."""
    edges: tuple[tuple[int, int], ...]
    way: Array
    """(T, E) seconds between the caller's and the callee's view of the same call."""


def cases(folder: Path, prefix: str) -> list[Case]:
    """All faults of the recordings whose files begin with `prefix`."""
    found = []
    for path in sorted(folder.glob(f"{prefix}*_faults.csv")):
        day = _read(folder, path.name.removesuffix("_faults.csv"))
        found += [_case(day, fault) for fault in _records(path) if fault["service"] in day.services]
    return found


def _records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _read(folder: Path, day: str) -> Recording:
    table = pq.read_table(folder / f"{day}_fault.parquet")
    names = np.array(table["service"].to_pylist())
    services, column = np.unique(names, return_inverse=True)
    stamp = table["ts"].to_numpy().astype("datetime64[s]").astype(np.int64) // 60
    minutes, row = np.unique(stamp, return_inverse=True)
    signals = {}
    for signal in (LATENCY, RATE, CPU, *OTHERS):
        grid = np.full((len(minutes), len(services)), np.nan)
        grid[row, column] = table[signal].to_numpy()
        signals[signal] = grid
    edges, way = _ways(folder, day, tuple(services), minutes)
    return Recording(tuple(services), minutes, signals, edges, way)


def _ways(
    folder: Path, day: str, services: tuple[str, ...], minutes: NDArray[np.int64]
) -> tuple[tuple[tuple[int, int], ...], Array]:
    paths = [folder / f"{day}_fault_{side}_50.csv" for side in ("source", "destination")]
    if not all(path.is_file() for path in paths):
        return (), np.empty((len(minutes), 0))
    at_caller, at_callee = (_records(path) for path in paths)
    names = [n for n in at_caller[0] if n not in ("time", "timestamp") and n in at_callee[0]]
    caller, callee = (_grid(records, names, minutes) for records in (at_caller, at_callee))
    ends = [name.split("_") for name in names]
    known = [i for i, pair in enumerate(ends) if len(pair) == 2 and set(pair) <= set(services)]
    edges = tuple((services.index(ends[i][0]), services.index(ends[i][1])) for i in known)
    return edges, (caller - callee)[:, known]


def _grid(records: list[dict[str, str]], names: list[str], minutes: NDArray[np.int64]) -> Array:
    grid = np.full((len(minutes), len(names)), np.nan)
    row = {int(minute): i for i, minute in enumerate(minutes)}
    for record in records:
        at = row.get(int(record["timestamp"]) // 60)
        if at is not None:
            grid[at] = [float(record[name] or "nan") for name in names]
    return grid


def _case(day: Recording, fault: dict[str, str]) -> Case:
    # The written time is UTC in all files; the numeric one is not.
    injected = datetime.fromisoformat(fault["inject_time"]).replace(tzinfo=UTC)
    start = int(np.searchsorted(day.minutes, int(injected.timestamp()) // 60))
    before, during = slice(max(start - BEFORE, 0), start), slice(start + 1, start + 1 + AFTER)
    gone = {name: departure(grid[before], grid[during]) for name, grid in day.signals.items()}
    rate = day.signals[RATE][during]
    rate = np.where(np.isfinite(rate).any(axis=0), np.nanmean(np.nan_to_num(rate), axis=0), 0.0)
    node = np.maximum(gone[LATENCY].above, 0.0) * rate
    graph = CallGraph(
        len(day.services), np.array([a for a, _ in day.edges], int), np.array([b for _, b in day.edges], int)
    )
    edge, way_z = _edges(graph, node, rate, departure(day.way[before], day.way[during]))
    excess = Excess(node, edge, gone[LATENCY].z, np.maximum(gone[CPU].z, way_z))
    every = np.max([one.z for one in gone.values()], axis=0)
    return Case(graph, excess, every, _entry(graph, day), day.services.index(fault["service"]))


def _edges(graph: CallGraph, node: Array, rate: Array, way: Departure) -> tuple[Array | None, Array]:
    """Excess of each edge as its caller sees it, and per node the mean z of the ways to and from it."""
    if not len(graph.caller):
        return None, np.zeros(graph.nodes)
    n, caller, callee = graph.nodes, graph.caller, graph.callee
    # Rates of edges are not recorded: a callee's requests come from its callers in proportion to their own.
    part = rate[caller] / np.maximum(np.bincount(callee, weights=rate[caller], minlength=n)[callee], 1e-12)
    slow = np.where(way.z > CLEAR_WAY, np.maximum(way.above, 0.0), 0.0)
    log_z = np.log1p(way.z)
    ends = np.bincount(caller, minlength=n) + np.bincount(callee, minlength=n)
    total = np.bincount(caller, weights=log_z, minlength=n) + np.bincount(callee, weights=log_z, minlength=n)
    return node[callee] * part + slow * part * rate[callee], np.expm1(total / np.maximum(ends, 1))


def _entry(graph: CallGraph, day: Recording) -> int:
    """The service that calls and is not called; moot without a graph, where every service is a candidate."""
    calls = np.bincount(graph.caller, minlength=graph.nodes)
    called = np.bincount(graph.callee, minlength=graph.nodes)
    return int(np.argmax(np.where(called == 0, calls, -1)))
