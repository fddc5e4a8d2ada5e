"""From anomalies to culprits: which services hurt, and which of them only wait for another.

A service hurts while its share of errors or its latency, or that of an edge into it, is abnormally high. The
symptoms are the hurt services that no hurt service calls; each gets a ranking of what explains it (`root_cause`):

    excess = (latency - usual latency) * requests/s      or   (error share - usual share) * requests/s

usual is the slow mean that detection keeps anyway. A service that hurts is a victim where it explains less than
`OWN` of the symptom by itself and another explains at least `CLEAR`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor.detect import level
from governor.detect.mesh import ERRORS, HARM
from governor.detect.root_cause import CallGraph, Causes, Excess, rank_causes
from governor.detect.stage import DetectState, Evidence, Options, detect
from governor.detect.tables import Table, TableState
from governor.domain import MeshFrame, MeshIndex
from governor.evidence import Anomalies, Cause

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
SYMPTOMS = 3
"""Symptoms that are explained in one look, the worst first: each costs a pass over the call graph."""
NAMED = 3
"""Causes named for one symptom."""
OWN, CLEAR = 0.2, 0.5
LONG = level.SPANS.index(288.0)
"""Row of the slow mean in `LevelState.means`."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What detection says of one frame; arrays over its index."""

    anomalies: Anomalies
    """Rarest first."""
    causes: tuple[Cause, ...]
    """By symptom, the largest share first."""
    abnormal: Flags
    """(E,) the edge's errors or latency, or its callee's, are abnormally high."""
    victim: Flags
    """(S,) hurts, but only because it waits for another."""
    blame: Array
    """(S,) largest share of any symptom that each service explains by itself, 0..1."""

    @classmethod
    def none(cls, index: MeshIndex) -> Diagnosis:
        """Nothing is abnormal."""
        services = len(index.services)
        nothing, nobody = np.zeros(len(index.edges), np.bool_), np.zeros(services, np.bool_)
        return cls(Anomalies(), (), nothing, nobody, np.zeros(services))


def diagnose(
    state: DetectState, frame: MeshFrame, tables: tuple[Table, ...], options: Options
) -> tuple[DetectState, Diagnosis]:
    """One look at `frame` (`tables`: `mesh.tables_of` it): what is abnormal, since when, and who is to blame."""
    state, evidence = detect(state, frame.at, tables, options)
    if not evidence.anomalies:
        return state, Diagnosis.none(frame.index)
    hurt = _Hurt.of(evidence, frame.index)
    if not hurt.service.any():
        return state, replace(Diagnosis.none(frame.index), anomalies=evidence.anomalies)
    seen = _Seen(state, {table.name: table.values.astype(np.float64) for table in tables})
    return state, _explained(seen, frame.index, evidence, hurt)


@dataclass(frozen=True, eq=False)
class _Hurt:
    """Who has abnormally many errors or is abnormally slow."""

    service: Flags
    edge: Flags
    failing: Flags
    """(S,) by errors rather than by latency."""

    @classmethod
    def of(cls, evidence: Evidence, index: MeshIndex) -> _Hurt:
        services, edges = len(index.services), len(index.edges)
        service, failing, edge = (np.zeros(size, np.bool_) for size in (services, services, edges))
        for table in evidence.anomalies.tables:
            harmful, of_errors = (
                np.array([name in names for name in table.signals])[table.signal] for names in (HARM, ERRORS)
            )
            bad = harmful & (table.value > table.bound)
            if table.table == "edge":
                edge[table.row[bad]] = True
            callee = index.edge_callee[table.row] if table.table == "edge" else table.row
            service[callee[bad]] = True
            failing[callee[bad & of_errors]] = True
        return cls(service, edge | service[index.edge_callee], failing)


@dataclass(frozen=True, eq=False)
class _Seen:
    """One frame beside what is usual."""

    state: DetectState
    """After the look at the frame."""
    values: Mapping[str, Array]
    """(M, R) per table."""

    def excesses(self) -> tuple[Excess, Excess]:
        """What is above usual at each service and on each edge: seconds of waiting a second, and errors/s."""
        slow = Excess(
            node=self._above("service", "latency"),
            edge=self._above("edge", "latency_mean"),
            rarity=self._rarity("service"),
            strain=self._rarity("resources"),
        )
        errors = {
            name: self._above(table, "error_share") for name, table in (("node", "service"), ("edge", "edge"))
        }
        return slow, replace(slow, **errors)

    def _above(self, name: str, signal: str) -> Array:
        """(R,) one signal less its usual value, times requests/s; NaN where either is unknown."""
        table, values = self.state.tables[name], self.values[name]
        usual = _usual(table)[table.signals.index(signal)]
        return np.asarray((values[table.signals.index(signal)] - usual) * values[table.signals.index("rate")])

    def _rarity(self, name: str) -> Array:
        """(R,) largest distance from the usual, where three is half the range of all before."""
        table, values = self.state.tables[name], self.values[name]
        shape, value = (-1, len(table.rows)), level.VIEWS.index("value")
        high = np.maximum(table.level.high[value], table.level.high_before[value]).reshape(shape)
        low = np.minimum(table.level.low[value], table.level.low_before[value]).reshape(shape)
        half = (high - low)[: len(values)] / 2.0
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = 3.0 * (values - _usual(table)[: len(values)]) / half
        return np.asarray(np.nan_to_num(distance, nan=0.0, posinf=0.0, neginf=0.0).max(axis=0))


def _usual(table: TableState) -> Array:
    """(M or M + 1, R) slow means; NaN where nothing was measured yet."""
    mean = np.where(table.level.seen > 0, table.level.means[LONG].astype(np.float64), np.nan)
    return np.asarray(mean.reshape(-1, len(table.rows)))


def _explained(seen: _Seen, index: MeshIndex, evidence: Evidence, hurt: _Hurt) -> Diagnosis:
    graph = CallGraph(len(index.services), index.edge_caller, index.edge_callee)
    slow, failing = seen.excesses()
    blame, hidden = np.zeros(graph.nodes), np.zeros(graph.nodes, np.bool_)
    causes: list[Cause] = []
    for symptom in _symptoms(graph, hurt, slow, failing):
        by_errors = bool(hurt.failing[symptom])
        found = rank_causes(graph, failing if by_errors else slow, symptom)
        blame[found.order] = np.maximum(blame[found.order], found.share)
        if found.share.max(initial=0.0) >= CLEAR:
            hidden[found.order] = True
        causes += _named(index.services, symptom, "errors" if by_errors else "latency", found)
    victim = hurt.service & hidden & (blame < OWN)
    return Diagnosis(evidence.anomalies, tuple(causes), hurt.edge, np.asarray(victim, np.bool_), blame)


def _symptoms(graph: CallGraph, hurt: _Hurt, slow: Excess, failing: Excess) -> list[int]:
    """Hurt services that no hurt service calls (in a circle of them: all), worst first."""
    called = np.zeros(graph.nodes, np.bool_)
    other = graph.caller != graph.callee
    called[graph.callee[other & hurt.service[graph.caller]]] = True
    top = hurt.service & ~called
    if not top.any():
        top = hurt.service
    # Failed answers and seconds of waiting have no common unit: whoever fails comes first.
    size = np.nan_to_num(np.where(hurt.failing, failing.node, slow.node))
    candidates = np.flatnonzero(top)
    order = np.lexsort((-size[candidates], ~hurt.failing[candidates]))
    return [int(i) for i in candidates[order][:SYMPTOMS]]


def _named(services: tuple[str, ...], symptom: int, signal: str, found: Causes) -> Iterator[Cause]:
    for node, share in zip(found.order[:NAMED], found.share[:NAMED], strict=True):
        if share > 0:
            yield Cause(services[symptom], signal, services[node], float(share))
