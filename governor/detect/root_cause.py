"""Who is to blame for a symptom: the node whose own share of what is wrong explains its callers.

    own_i   = max(excess_i - sum over its calls of what they cost it above normal, 0)     for i below the symptom
    share_i = own_i / max(excess of the symptom, sum of own)                              shares sum to at most 1
    score_i = share_i + 0.1 * rarity_i + strain_i

excess: work above normal, (latency - normal) * requests/s or errors/s above normal. A victim's excess is that
of the node it waits for, so little of its own is left. Where the mesh gives the latency that the caller sees on
an edge, what the callee cannot account for lies on the way: half goes to either end, so that a node whose
network is slow collects it from all its edges. rarity: how unusual the node's signals are, as a tie-breaker.
strain: how unusual its use of its own resources is, which its callers' waiting does not move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.integer]
TIE = 0.1
CLEAR = np.log1p(10.0)
"""A z of ten is fully unusual unless another node's is larger."""


@dataclass(frozen=True, eq=False)
class CallGraph:
    """N nodes and E calls; positions of nodes."""

    nodes: int
    caller: Positions
    """(E,)."""
    callee: Positions
    """(E,)."""


@dataclass(frozen=True, eq=False)
class Excess:
    """What is above normal, in one unit for nodes and edges: seconds of work a second, or errors a second."""

    node: Array
    """(N,) as the node itself reports it; NaN where unknown."""
    edge: Array | None = None
    """(E,) as the caller sees it; NaN where the mesh does not say, None if it never does."""
    rarity: Array | None = None
    """(N,) robust z of the node's own golden signals, 0 if none is unusual."""
    strain: Array | None = None
    """(N,) robust z of its use of its own resources (CPU), and of the way to and from it."""


@dataclass(frozen=True, eq=False)
class Causes:
    """Nodes from the likeliest culprit down."""

    order: Positions
    """(R,) the nodes that can be to blame: those reached from the symptom, and the symptom."""
    share: Array
    """(R,) of the symptom that each explains by itself."""
    score: Array
    """(R,) what they are ordered by."""


def reachable(graph: CallGraph, start: int) -> NDArray[np.bool_]:
    """(N,) nodes that `start` calls, directly or through others, and itself; cycles are allowed."""
    seen = np.zeros(graph.nodes, bool)
    seen[start] = True
    while True:
        found = seen.copy()
        found[graph.callee[seen[graph.caller]]] = True
        if np.array_equal(found, seen):
            return seen
        seen = found


def rank_causes(graph: CallGraph, excess: Excess, symptom: int) -> Causes:
    """Rank what can explain the excess of node `symptom`; without any call known, every node can."""
    below = reachable(graph, symptom) if len(graph.caller) else np.ones(graph.nodes, bool)
    node = np.maximum(np.nan_to_num(excess.node, posinf=0.0, neginf=0.0), 0.0)
    own = np.where(below, _own(graph, node, excess.edge), 0.0)
    share = own / max(float(own.sum()), float(node[symptom]), np.finfo(float).tiny)
    score = share + TIE * _squashed(excess.rarity, below) + _squashed(excess.strain, below)
    candidates = np.flatnonzero(below)
    order = candidates[np.argsort(-score[candidates], kind="stable")]
    return Causes(order, share[order], score[order])


def _own(graph: CallGraph, node: Array, edge: Array | None) -> Array:
    caller, callee, n = graph.caller, graph.callee, graph.nodes
    waited = node[callee]
    between = np.zeros(len(caller))
    if edge is not None:
        seen = np.isfinite(edge)
        cost = np.where(seen, np.maximum(edge, 0.0), waited)
        # A callee cannot have cost all its callers together more than its own excess.
        total = np.bincount(callee, weights=cost, minlength=n)
        part = node[callee] * cost / np.maximum(total[callee], np.finfo(float).tiny)
        between = np.where(seen, np.maximum(cost - part, 0.0), 0.0)
        waited = cost
    own = np.maximum(node - np.bincount(caller, weights=waited, minlength=n), 0.0)
    ends = np.bincount(caller, weights=between, minlength=n) + np.bincount(callee, weights=between, minlength=n)
    return np.asarray(own + ends / 2.0, np.float64)


def _squashed(z: Array | None, below: NDArray[np.bool_]) -> Array:
    if z is None:
        return np.zeros(len(below))
    size = np.log1p(np.where(below, np.maximum(np.nan_to_num(z, posinf=0.0, neginf=0.0), 0.0), 0.0))
    return np.asarray(size / max(float(size.max(initial=0.0)), float(CLEAR)), np.float64)
