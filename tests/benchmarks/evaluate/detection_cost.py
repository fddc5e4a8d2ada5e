"""What detection and root cause cost a cycle on a mesh of 10,000 services and 100,000 edges; one core."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from governor.detect import conformal, expected, level, opinion, refractory, season
from governor.detect.root_cause import CallGraph, Excess, rank_causes
from governor.detect.stage import DetectState, Options, detect
from governor.detect.tables import Table
from tests.benchmarks.table import Row

SERVICES, EDGES, SIGNALS = 10_000, 100_000, 4
DAY, HOUR, LOOKS = 24, 300, 30
"""Looks an hour apart, which teach the season; then 15 s apart a week later an hour of them, and twice those that
are timed."""
NOISE, QUIETER = 0.1, 0.08
"""Of the values at first, and of those timed last: new extremes, which cost more than the rest, then come as
seldom as after a day, and not as often as after an hour."""
LATER_S = 8 * 86_400.0


def cost_of_detection() -> list[Row]:
    """Milliseconds a look at 4 signals of services and edges, 1 % missing; services have relations, a season."""
    rng = np.random.default_rng(1)
    services = tuple(f"s{i}" for i in range(SERVICES))
    edges = tuple(f"e{i}" for i in range(EDGES))
    names = ("rate", "errors", "latency_mean", "latency_p99")
    relations = expected.Options(lags=(1, 2), drivers=(0,))
    state, took = DetectState(), []
    for look in range(DAY + HOUR + 2 * LOOKS):
        noise = NOISE if look < DAY + HOUR + LOOKS else QUIETER
        values = [rng.normal(1, noise, (SIGNALS, rows)).astype(np.float32) for rows in (SERVICES, EDGES)]
        for one in values:
            one[:, rng.random(one.shape[1]) < 0.01] = np.nan
        tables = (
            Table("service", services, names, values[0], relations, seasonal=True),
            Table("edge", edges, names, values[1]),
        )
        at = 3_600.0 * look if look < DAY else LATER_S + 15.0 * look
        start = time.perf_counter()
        state, _ = detect(state, at, tables, Options())
        took.append(1e3 * (time.perf_counter() - start))
    note = f"{SIGNALS * (SERVICES + EDGES):,} series; the first look {took[0]:.0f} ms"
    timed = {"an hour": took[-2 * LOOKS : -LOOKS], "a day": took[-LOOKS:]}
    return [
        Row(f"detection, one look {age} after the start", tuple(one), "ms", 50.0, at_least=False, note=note)
        for age, one in timed.items()
    ]


def points_a_second() -> Row:
    """Values/s through level, season, conformal and refractory, ten thousand streams side by side, nine days."""
    rng = np.random.default_rng(2)
    streams, steps = 10_000, 9 * 288
    state, usual = level.LevelState.empty(streams), season.SeasonState.empty(streams, 1)
    calibration = conformal.Calibration.empty(len(level.VIEWS), streams, 1)
    held, group, took = np.zeros(streams), np.zeros(streams, np.intp), 0.0
    for step in range(steps):
        row = rng.normal(1, 0.1, streams).astype(np.float32)
        start = time.perf_counter()
        seen = state.seen
        state, levels = level.update(state, row)
        counted = levels.measured & (seen >= conformal.YOUNG)
        calibration, p = conformal.update(calibration, levels.exceedance, counted, group, level.FAMILIES)
        usual, _, rare = season.update(usual, 300.0 * step, row, group, conformal.YOUNG)
        p = opinion.weighed((p, rare), season.SHARES)
        refractory.damp(held, p)
        held = refractory.hold(held, p, p < 1.0, seen)
        took += time.perf_counter() - start
    speed = streams * steps / took
    return Row("detection of streams", (speed,), "points/s", 2e6, note="10,000 streams")


def cost_of_root_cause() -> Row:
    """Milliseconds for one symptom."""
    rng = np.random.default_rng(3)
    caller = rng.integers(0, SERVICES - 1, EDGES)
    callee = caller + 1 + rng.integers(0, SERVICES, EDGES) % (SERVICES - 1 - caller)
    graph = CallGraph(SERVICES, caller, callee)
    excess = Excess(*(rng.random(n) for n in (SERVICES, EDGES, SERVICES, SERVICES)))
    took = []
    for _ in range(20):
        start = time.perf_counter()
        rank_causes(graph, excess, int(caller.min()))
        took.append(1e3 * (time.perf_counter() - start))
    return Row("root cause, one symptom", tuple(took), "ms", 30.0, at_least=False, note=f"{EDGES:,} edges")


def rows(_: Path) -> list[Row]:
    """All three; the data folder is not needed."""
    return [*cost_of_detection(), points_a_second(), cost_of_root_cause()]
