"""A simulated mesh as the cycle's world: frames from its counters, knobs that turn its settings, virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from governor.adapters.memory import MemoryLedger
from governor.cycle import cycle
from governor.domain import MeshFrame, MeshIndex, RateSamples
from governor.early import look
from governor.knobs import (
    BackendWeights,
    InFlightCap,
    Knob,
    KnobState,
    KnobValue,
    Proposal,
    RateLimit,
    Receipt,
    RetryPolicy,
    Target,
)
from governor.lab.documents import Scenario
from governor.lab.results import LoadResult
from governor.observe.index import EdgeName, mesh_index
from governor.policy import load_policies
from governor.ports import Ledger
from governor.turn import CycleOptions, CycleResult, GovernorState, Ports
from tests.frames import trusted_frame
from tests.trajectory.simulated_mesh import Mesh
from tests.trajectory.simulated_proxy import Bucket

STEP_S = 1.0
HISTOGRAM_S = 10.0
_EDGE = ("rate", "errors", "attempts", "retries", "timeouts", "overflow")
_API = ("offered", "limited", "completed", "errors")


@dataclass(frozen=True)
class _Snapshot:
    """Counters and gauges at one moment."""

    at: float
    edge: np.ndarray
    in_flight: np.ndarray
    backend: np.ndarray
    backend_flight: np.ndarray
    api: np.ndarray
    service: np.ndarray


class SimulatedSource:
    """MetricSource and Clock over a simulated mesh: observing lets no time pass."""

    def __init__(self, mesh: Mesh, cpu_share: float = 1.0) -> None:
        self.mesh = mesh
        self._cpu_share = cpu_share
        callers = {name: tuple(name.split("|")[1:]) for name in mesh.edges}
        self.index: MeshIndex = mesh_index(
            [EdgeName(name, *pair) for name, pair in callers.items()],
            [(name, f"{s.service}-{s.index}") for name, edge in mesh.edges.items() for s in edge.servers],
            {name: f"out|ingress|{mesh.scenario.api(name).calls.service}" for name in mesh.scenario.load.classes},
        )
        self._snapshots = [self._snapshot()]
        self._glanced = self._snapshots[-1].at

    def now(self) -> float:
        """Virtual seconds."""
        return self.mesh.now

    def run_until(self, end: float) -> None:
        """Let time pass, with a look at the counters every second."""
        while self.mesh.now < end - 1e-9:
            self.mesh.run_until(min(end, self._snapshots[-1].at + STEP_S))
            if self.mesh.now >= self._snapshots[-1].at + STEP_S - 1e-9:
                self._snapshots.append(self._snapshot())

    def close(self) -> None:
        """Nothing to release."""

    def _snapshot(self) -> _Snapshot:
        mesh, index = self.mesh, self.index
        edges = [mesh.edges[name] for name in index.edges]
        members = [
            (mesh.edges[index.edges[e]], name) for e, name in zip(index.backend_edge, index.backends, strict=True)
        ]
        places = [(edge, int(name.rsplit("-", 1)[1])) for edge, name in members]
        return _Snapshot(
            mesh.now,
            np.array([[getattr(e.counters, n) for n in _EDGE] for e in edges], float),
            np.array([e.active["default"] + e.active["high"] for e in edges], float),
            np.array([[e.member_sent[i], e.member_good[i]] for e, i in places], float),
            np.array([e.member_active[i] for e, i in places], float),
            np.array([[getattr(mesh.apis[name], n) for n in _API] for name in index.apis], float),
            np.array([self._service(name) for name in index.services], float),
        )

    def _service(self, name: str) -> list[float]:
        servers = self.mesh.servers.get(name, [])
        if not servers:
            return [np.nan, np.nan, np.nan, np.nan]
        return [
            self._cpu_share * sum(s.queue.busy_seconds() for s in servers),
            sum(s.completed for s in servers),
            sum(s.duration_s for s in servers),
            sum(s.nominal for s in servers),
        ]

    def glance(self, window_s: float) -> MeshFrame | None:
        """The last whole seconds, if they were not looked at yet."""
        newest = self._snapshots[-1].at
        if newest <= self._glanced:
            return None
        self._glanced = newest
        return self.observe(window_s)

    def observe(self, window_s: float) -> MeshFrame:
        """The last whole seconds, as the admin source measures them."""
        kept = [s for s in self._snapshots if s.at >= self._snapshots[-1].at - window_s - 1e-9]
        first, last = kept[0], kept[-1]
        took = max(last.at - first.at, 1e-9)
        edge = dict(zip(_EDGE, ((last.edge - first.edge) / took).T, strict=True))
        backend = (last.backend - first.backend) / took
        flight_change = (last.backend_flight - first.backend_flight) / took
        api = dict(zip(_API, ((last.api - first.api) / took).T, strict=True))
        busy, completions, seconds, _ = ((last.service - first.service) / took).T
        edge |= {"in_flight": np.mean([s.in_flight for s in kept], axis=0), **self._latencies(last.at)}
        with np.errstate(invalid="ignore", divide="ignore"):
            service = {
                "cpu_used": busy,
                "cpu_limit": last.service[:, 3],
                "completions": completions,
                "server_latency": seconds / completions,
            }
        lost = np.maximum(backend[:, 0] - backend[:, 1] - flight_change, 0.0)
        backends = {
            "rate": backend[:, 0],
            "errors": lost,
            "in_flight": np.mean([s.backend_flight for s in kept], axis=0),
        }
        return trusted_frame(
            last.at,
            took,
            self.index,
            service=service,
            edge=edge,
            backend=backends,
            api=api,
            samples=self._samples(kept),
            age_s=self.now() - last.at,
        )

    def _samples(self, kept: list[_Snapshot]) -> RateSamples | None:
        if len(kept) < 2:
            return None
        attempts = np.diff([s.edge[:, 2] for s in kept], axis=0) / STEP_S
        arrivals = np.zeros((len(attempts), len(self.index.services)))
        np.add.at(arrivals.T, self.index.edge_callee, attempts.T)
        admitted = np.diff([s.api[:, 2] for s in kept], axis=0) / STEP_S
        return RateSamples(admitted.astype(np.float32), arrivals.astype(np.float32), STEP_S)

    def _latencies(self, at: float) -> dict[str, np.ndarray]:
        """Mean and quantiles; as Envoy's histograms, over ten seconds and not per window."""
        found = np.full((4, len(self.index.edges)), np.nan)
        for row, name in enumerate(self.index.edges):
            edge = self.mesh.edges[name]
            edge.latencies = [pair for pair in edge.latencies if pair[0] >= at - HISTOGRAM_S]
            values = np.array([pair[1] for pair in edge.latencies if pair[0] <= at])
            if len(values) >= 100:
                found[:, row] = [values.mean(), *np.quantile(values, [0.5, 0.99, 0.999])]
        return dict(zip(("latency_mean", "latency_p50", "latency_p99", "latency_p999"), found, strict=True))


class SimulatedPlane:
    """ControlPlane over a simulated mesh: what is written is in force at once."""

    def __init__(self, mesh: Mesh, index: MeshIndex) -> None:
        self.mesh, self.index = mesh, index
        self._limits: dict[str, float | None] = dict.fromkeys(index.apis)

    def read(self, index: MeshIndex) -> KnobState:
        """Settings in force."""
        state = KnobState.unset(index)
        for row, name in enumerate(index.edges):
            settings = self.mesh.edges[name].settings
            members = np.flatnonzero(index.backend_edge == row)
            state.weight[members] = np.array(settings.weights) / sum(settings.weights)
            for priority, column in (("default", state.cap_default), ("high", state.cap_high)):
                cap = settings.cap[priority]
                column[row] = np.nan if cap is None else cap
            state.attempts[row] = settings.attempts
            state.retry_budget[row] = np.nan if settings.budget is None else settings.budget
            state.timeout[row] = settings.timeout_s
            state.per_try_timeout[row] = np.nan if settings.per_try_s is None else settings.per_try_s
        for row, name in enumerate(index.apis):
            limit = self._limits[name]
            state.limit[row] = np.nan if limit is None else limit
        return state

    def refusal(self, proposal: Proposal) -> str | None:
        """Only the knobs that the lab's scenarios need."""
        if proposal.knob in (Knob.RATE_LIMIT, Knob.IN_FLIGHT_CAP, Knob.WEIGHTS, Knob.RETRIES):
            return None
        return "not simulated"

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        """Put one value in force."""
        before = self._write(target, value)
        return Receipt(target, knob, before, value)

    def _write(self, target: Target, value: KnobValue) -> KnobValue:
        if isinstance(value, RateLimit):
            before = RateLimit(self._limits[target.name])
            rate = value.requests_per_second
            self._limits[target.name] = rate
            self.mesh.buckets[target.name] = None if rate is None else Bucket(rate, self.mesh.now)
            return before
        settings = self.mesh.edges[target.name].settings
        match value:
            case InFlightCap():
                old = InFlightCap(settings.cap["default"], settings.cap["high"])
                settings.cap = {"default": value.default, "high": value.high}
                return old
            case RetryPolicy():
                policy = RetryPolicy(settings.attempts, settings.budget)
                settings.budget = value.budget
                settings.min_retry_concurrency = 0 if value.budget is not None else 3
                return policy
            case BackendWeights():
                row = self.index.edges.index(target.name)
                names = [self.index.backends[b] for b in np.flatnonzero(self.index.backend_edge == row)]
                total = sum(settings.weights)
                shares = tuple((n, w / total) for n, w in zip(names, settings.weights, strict=True))
                asked = dict(value.shares)
                settings.weights = [asked[n] for n in names]
                return BackendWeights(shares)
            case _:
                raise AssertionError(f"{value} is not simulated")


@dataclass(frozen=True)
class Trajectory:
    """What clients saw, and every cycle."""

    load: LoadResult
    cycles: tuple[CycleResult, ...]
    mesh: Mesh


def ungoverned(scenario: Scenario) -> LoadResult:
    """The scenario as it is."""
    mesh = Mesh(scenario)
    mesh.run_until(scenario.duration_s + 3.0)
    return mesh.result()


def governed(
    scenario: Scenario,
    period_s: float = 5.0,
    ledger: Ledger | None = None,
    cpu_share: float = 1.0,
    weights: Mapping[str, Sequence[float]] | None = None,
    look_s: float = STEP_S,
) -> Trajectory:
    """The scenario with the balanced preset enforced from `govern_from_s` on.

    `look_s`: between looks at the backends; 0: none. `cpu_share`: of a busy worker's time that is spent on a CPU;
    the rest waits, for a disk or a lock. `weights`: the operator's own, by edge.
    """
    mesh = Mesh(scenario)
    for name, values in (weights or {}).items():
        mesh.edges[name].settings.weights = list(values)
    source = SimulatedSource(mesh, cpu_share)
    plane = SimulatedPlane(mesh, source.index)
    ports = Ports(source, plane, ledger or MemoryLedger(), source)
    options = CycleOptions(
        load_policies(["balanced"]), enforce=True, period_s=period_s, window_s=period_s, look_s=look_s
    )
    state, cycles = GovernorState(), []
    due = scenario.govern_from_s + period_s
    while due < scenario.duration_s:
        while look_s and (now := source.now() + look_s) < due - 1e-9:
            source.run_until(now)
            early = look(state, ports, options)
            if early is not None:
                state = early.state
                cycles.append(early)
        source.run_until(due)
        result = cycle(state, ports, options)
        state = result.state
        cycles.append(result)
        due += period_s
    source.run_until(scenario.duration_s + 3.0)
    return Trajectory(mesh.result(), tuple(cycles), mesh)
