"""What one cycle's own computation costs on synthetic frames; fetching and writing to a mesh excluded.

The mesh is a layered random call graph with ten edges a service and four backends an edge; 5 % of the services
are overloaded, 1 % of the backends slow, a tenth of the edges retry, and nobody has set a knob yet, so that
nearly every edge has a proposal. `recommend` writes nothing; `enforce` writes as much as the policy lets it, to
a control plane and a ledger in memory, and judges what it wrote. Baseline: the same cycle on a hundredth and a
tenth of the size. Two more rows are of cycles that come seldom: one that makes a new forecast from a week of
load, without a model, and one in which all edges turn slow at once.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from governor.adapters.memory import MemoryControlPlane, MemoryLedger
from governor.cycle import cycle
from governor.detect.conformal import YOUNG
from governor.domain import MeshFrame, MeshIndex, RateSamples
from governor.learned import LearnedState, learn, remembering
from governor.policy import load_policies
from governor.predict.demand import KEPT_S
from governor.predict.history import RateHistory
from governor.turn import CycleOptions, GovernorState, Ports
from tests.benchmarks.table import Row, finish
from tests.frames import trusted_frame

SIZES = (100, 1_000, 10_000)
EDGES_PER_SERVICE = 10
APIS = 50
TARGET_MS = 500.0
CYCLES = 8
MODES = ("recommend", "enforce")


class SyntheticSource:
    """Frames of a mesh that does not exist, all made before the clock starts."""

    def __init__(self, frames: list[MeshFrame]) -> None:
        self._frames = iter(frames)

    def observe(self, window_s: float) -> MeshFrame:
        """The next frame."""
        return next(self._frames)

    def close(self) -> None:
        """Nothing to release."""


class FrameClock:
    """Fifteen seconds a look."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Seconds."""
        self._now += 7.5
        return self._now


def make_index(services: int, rng: np.random.Generator, pool: int = 4) -> MeshIndex:
    """A layered call graph: callees lie after their callers; each edge has `pool` backends."""
    edges = services * EDGES_PER_SERVICE
    caller = rng.integers(0, services - 1, edges).astype(np.int32)
    callee = (caller + 1 + rng.integers(0, services, edges) % (services - 1 - caller)).astype(np.int32)
    backend_edge = np.repeat(np.arange(edges, dtype=np.int32), pool)
    return MeshIndex(
        services=tuple(f"s{i}" for i in range(services)),
        edges=tuple(f"out|s{a}|s{b}|{i}" for i, (a, b) in enumerate(zip(caller, callee, strict=True))),
        edge_caller=caller,
        edge_callee=callee,
        backends=tuple(f"10.0.0.{i % 250}:{i}" for i in range(pool * edges)),
        backend_edge=backend_edge,
        apis=tuple(f"api{i}.{'high' if i % 3 == 0 else 'low'}" for i in range(APIS)),
        api_edge=rng.integers(0, edges // 10, APIS).astype(np.int32),
    )


def make_frame(index: MeshIndex, rng: np.random.Generator, at: float) -> MeshFrame:
    """One window with noise of 3 % on everything."""
    services, edges, backends = len(index.services), len(index.edges), len(index.backends)

    def noisy(values: np.ndarray) -> np.ndarray:
        return (values * rng.normal(1.0, 0.03, values.shape)).astype(np.float32)

    stable = np.random.default_rng(1)
    rate = stable.lognormal(3.0, 0.7, edges)
    arrivals = np.bincount(index.edge_callee, weights=rate, minlength=services)
    hot = stable.random(services) < 0.05
    latency = np.where(hot[index.edge_callee], 0.5, 0.02)
    retrying = stable.random(edges) < 0.1
    slow = np.where(stable.random(backends) < 0.01, 10.0, 1.0)
    edge = {
        "rate": noisy(rate),
        "errors": noisy(rate * 0.001),
        "attempts": noisy(rate),
        "retries": noisy(rate * 0.02 * retrying),
        "timeouts": noisy(rate * 0.001),
        "overflow": np.zeros(edges, np.float32),
        "in_flight": noisy(rate * latency),
        "latency_mean": noisy(latency),
        "latency_p50": noisy(latency),
        "latency_p99": noisy(latency * 4),
        "latency_p999": noisy(latency * 6),
    }
    service = {
        "cpu_used": noisy(np.where(hot, 0.98, 0.5) * 8),
        "cpu_limit": np.full(services, 8, np.float32),
        "completions": noisy(np.maximum(arrivals, 0.1)),
    }
    share = rate[index.backend_edge] / np.bincount(index.backend_edge, minlength=edges)[index.backend_edge]
    backend = {
        "rate": noisy(share),
        "errors": noisy(share * 0.001),
        "in_flight": noisy(share * latency[index.backend_edge] * slow),
    }
    offered = np.full(APIS, 200.0)
    api = {
        "offered": noisy(offered),
        "limited": np.zeros(APIS, np.float32),
        "completed": noisy(offered),
        "errors": noisy(offered * 0.001),
    }
    admitted = rng.poisson(offered, (15, APIS)).astype(np.float32)
    samples = RateSamples(admitted, np.tile(arrivals, (15, 1)).astype(np.float32))
    return trusted_frame(at, 15.0, index, service=service, edge=edge, backend=backend, api=api, samples=samples)


@dataclass(frozen=True)
class Cost:
    """What the cycles of one run cost, the first one apart: it also learns the mesh."""

    median_s: float
    """CPU seconds."""
    first_s: float
    """CPU seconds."""
    proposals: int
    """In the last cycle."""
    writes: int
    """In all cycles together."""
    anomalies: int = 0
    """In the last cycle."""


def measure(services: int, seed: int, mode: str) -> Cost:
    """Run `CYCLES` cycles after a first one."""
    rng = np.random.default_rng(seed)
    index = make_index(services, rng)
    frames = [make_frame(index, rng, 15.0 * i) for i in range(CYCLES + 1)]
    plane = MemoryControlPlane(index) if mode == "enforce" else None
    ports = Ports(SyntheticSource(frames), plane, MemoryLedger(), FrameClock())
    options = CycleOptions(policies=load_policies(["balanced"]), enforce=plane is not None)
    state, spent, proposals, writes = GovernorState(), [], 0, 0
    for _ in frames:
        started = time.process_time()
        result = cycle(state, ports, options)
        spent.append(time.process_time() - started)
        state, proposals, writes = result.state, len(result.proposals), writes + len(result.receipts)
    return Cost(float(np.median(spent[1:])), spent[0], proposals, writes)


def with_forecast(seed: int) -> Cost:
    """The cycle that makes a new forecast, with a week of load behind it."""
    rng = np.random.default_rng(seed)
    index = make_index(SIZES[-1], rng)
    options = CycleOptions(policies=load_policies(["balanced"]))
    step_s = options.learned.step_s
    steps = int(KEPT_S / step_s)
    load = 5.0 * rng.standard_gamma(20.0, (SIZES[-1], steps), np.float32)
    past = RateHistory(load, 10 * step_s, step_s)
    frames = [make_frame(index, rng, 10 * step_s + at) for at in (15.0, 30.0, step_s + 15.0)]
    return _last(GovernorState(learned=remembering(index.services, past)), frames, options)


def with_incident(seed: int) -> Cost:
    """The cycle in which nearly all edges are abnormal, after as many calm ones as detection needs."""
    rng = np.random.default_rng(seed)
    index = make_index(SIZES[-1], rng)
    options, learned = CycleOptions(policies=load_policies(["balanced"])), LearnedState()
    for look in range(YOUNG + 50):
        learned, _ = learn(learned, make_frame(index, rng, 15.0 * look), None, options.learned)
    calm, bad = (make_frame(index, rng, 15.0 * (YOUNG + 50 + n)) for n in range(2))
    edge = replace(bad.edge, latency_mean=10 * bad.edge.latency_mean, latency_p99=10 * bad.edge.latency_p99)
    return _last(GovernorState(learned=learned), [calm, replace(bad, edge=edge)], options)


def _last(state: GovernorState, frames: list[MeshFrame], options: CycleOptions) -> Cost:
    """Cost of the last of the cycles over `frames`."""
    ports = Ports(SyntheticSource(frames), None, MemoryLedger(), FrameClock())
    for _ in frames:
        started = time.process_time()
        result = cycle(state, ports, options)
        spent = time.process_time() - started
        state = result.state
    return Cost(spent, spent, len(result.proposals), 0, len(result.learned.diagnosis.anomalies))


def _measured(job: Callable[..., Cost], *given: object) -> tuple[Cost, float]:
    """What `job` says, and the peak memory of its process, MiB."""
    cost = job(*given)
    return cost, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Alone:
    """Runs each measurement in a process of its own, as a governor has one, and keeps the largest peak."""

    def __init__(self) -> None:
        self.peak_mib = 0.0

    def __call__(self, job: Callable[..., Cost], *given: object) -> Cost:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            cost, peak_mib = process.submit(_measured, job, *given).result()
        self.peak_mib = max(self.peak_mib, peak_mib)
        return cost


def _row(what: str, seconds: list[float], services: int, note: str) -> Row:
    """One figure; the target is for the largest mesh."""
    target = TARGET_MS if services == SIZES[-1] else None
    return Row(what, tuple(1000 * s for s in seconds), "ms", target=target, at_least=False, note=note)


def main(seeds: int, json_path: Path | None) -> int:
    """Run all sizes and print the table."""
    rows, alone = [], Alone()
    for mode in MODES:
        before = None
        for services in SIZES:
            runs = [alone(measure, services, seed, mode) for seed in range(seeds)]
            what = f"{mode}, {services} services, {services * EDGES_PER_SERVICE} edges"
            note = f"{runs[0].proposals} proposals, {runs[0].writes} writes in {CYCLES + 1} cycles"
            row = _row(what, [r.median_s for r in runs], services, note)
            if before is not None:
                row = replace(row, note=f"{row.median / before:.1f} times the row above; {note}")
            before = row.median
            rows.append(row)
        rows.append(_row(f"{mode}, first cycle", [r.first_s for r in runs], SIZES[-1], "learns the mesh"))
    runs = [alone(with_forecast, seed) for seed in range(seeds)]
    made = _row("recommend, makes a forecast", [r.median_s for r in runs], SIZES[-1], "one cycle in twenty")
    rows.append(replace(made, target=None))
    runs = [alone(with_incident, seed) for seed in range(seeds)]
    note = f"{runs[0].anomalies} abnormal signals"
    rows.append(_row("recommend, all edges turn slow", [r.median_s for r in runs], SIZES[-1], note))
    rows.append(Row("peak memory", (alone.peak_mib,), "MiB", target=1024.0, at_least=False))
    return finish("cycle: computation of one cycle, CPU time of one process", rows, json_path)
