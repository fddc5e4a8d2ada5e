"""Which API costs how much where: requests at each service for one request of each API.

    c_sj = e_sj + d_sj        minimise over d_s >= 0:  sum_k (a_sk - sum_j c_sj x_jk)^2 + lambda_j (d_sj - p_sj)^2

e: 1 at the service where an API enters, which is known and not fitted. d: calls from inside the mesh. a: arrivals
at a service, x: admitted rates of the APIs, in short samples k. Counts of one second fluctuate (Poisson), and
arrivals follow them within the time of a request, so some minutes of steady traffic tell the APIs apart. Where
the data are silent (collinear rates) the prior p holds: an even split that explains the observed mean.
d_sj = 0 where the call graph gives no path from the API's entry to s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg.lapack import dposv
from scipy.optimize import nnls

from governor.domain import MeshIndex, RateSamples

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
FORGETTING = 0.995
PRIOR_SAMPLES = 2.0
"""The prior weighs as much as the Poisson noise of this many samples."""


@dataclass(frozen=True, eq=False)
class CostState:
    """Exponentially forgotten normal equations."""

    gram: Array
    """(A, A) sum of x x'."""
    moment: Array
    """(S, A) sum of a x'."""
    rate: Array
    """(A,) sum of x."""
    arrivals: Array
    """(S,) sum of a."""
    weight: float
    """Number of samples, forgotten ones counted less."""

    @classmethod
    def empty(cls, apis: int, services: int) -> CostState:
        """No samples yet."""
        return cls(np.zeros((apis, apis)), np.zeros((services, apis)), np.zeros(apis), np.zeros(services), 0.0)


def update(state: CostState, samples: RateSamples, forgetting: float = FORGETTING) -> CostState:
    """Add samples, oldest first; rows in which anything is missing are skipped."""
    x = samples.api_admitted.astype(np.float64)
    a = samples.service_arrivals.astype(np.float64)
    whole = np.isfinite(x).all(axis=1) & np.isfinite(a).all(axis=1)
    x, a = x[whole], a[whole]
    if not len(x):
        return state
    weights = forgetting ** np.arange(len(x) - 1, -1, -1.0)
    old, weighted = forgetting ** len(x), x * weights[:, None]
    return CostState(
        old * state.gram + weighted.T @ x,
        old * state.moment + a.T @ weighted,
        old * state.rate + weighted.sum(axis=0),
        old * state.arrivals + weights @ a,
        old * state.weight + float(weights.sum()),
    )


def solve(state: CostState, index: MeshIndex, wanted: NDArray[np.bool_] | None = None) -> Array:
    """Cost (S, A), requests at a service per request of an API.

    Only services in `wanted` (S,) are fitted (all, if None): the others, and all while there are no samples,
    get the prior. One that is far from its capacity never binds, so its costs need not be exact.
    """
    entry, inside = paths(index)
    extra = _prior(state, entry, inside)
    if state.weight <= 0 or not len(index.apis):
        return np.asarray(entry + extra, np.float64)
    ridge = PRIOR_SAMPLES * np.maximum(state.rate / state.weight, 1e-9)
    gram = state.gram + np.diag(ridge)
    several = (entry | inside).sum(axis=1) > 1
    for apis, services in _alike(inside, several if wanted is None else several & wanted):
        block = np.ix_(services, apis)
        known = entry[services].astype(np.float64) @ state.gram[:, apis]
        pull = (state.moment[block] - known + ridge[apis] * extra[block]).T
        extra[block] = _least_squares(gram[np.ix_(apis, apis)], pull).T
    return np.asarray(entry + extra, np.float64)


def _alike(inside: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Iterator[tuple[Rows, Rows]]:
    """APIs, and the services in `wanted` that exactly these reach by calls: they share one matrix."""
    services = np.flatnonzero(wanted & inside.any(axis=1))
    groups: dict[bytes, list[int]] = {}
    for service, key in zip(services.tolist(), np.packbits(inside[services], axis=1), strict=True):
        groups.setdefault(key.tobytes(), []).append(service)
    for members in groups.values():
        yield np.flatnonzero(inside[members[0]]), np.array(members, np.intp)


def _least_squares(gram: Array, pull: Array) -> Array:
    """Columns c >= 0 that minimise c' gram c - 2 pull' c, one for each column of `pull` (A, n)."""
    # LAPACK itself: for matrices of some fifty rows its wrappers cost more than it does.
    factor, cost, flaw = dposv(gram, pull)
    if flaw:
        raise np.linalg.LinAlgError("the matrix of API rates is not positive definite")
    negative = np.flatnonzero((cost < 0).any(axis=0))
    # A free minimum without a negative part is the constrained one, too; only the others need the search.
    if len(negative):
        upper = np.triu(factor)
        for k in negative:
            cost[:, k] = nnls(upper, upper @ cost[:, k])[0]
    return np.asarray(cost, np.float64)


def _prior(state: CostState, entry: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Array:
    """Calls from inside the mesh, the same for all APIs with a path, so that the mean is explained; (S, A)."""
    if state.weight <= 0:
        return inside.astype(np.float64)
    left = np.maximum(state.arrivals - entry @ state.rate, 0.0)
    asked = inside @ state.rate
    split = np.where(asked > 0, np.minimum(left / np.where(asked > 0, asked, 1.0), 10.0), 1.0)
    return np.where(inside, split[:, None], 0.0)


@lru_cache(maxsize=4)
def paths(index: MeshIndex) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(S, A) twice: where an API enters, and where calls from inside the mesh take it. Cached by index."""
    reach = reachability(index)
    entry = np.zeros(reach.shape, np.bool_)
    if not len(index.apis):
        return entry, entry.copy()
    entry[index.edge_callee[index.api_edge], np.arange(len(index.apis))] = True
    return entry, np.asarray(_calls(index) @ reach.astype(np.float32)) > 0


def _calls(index: MeshIndex) -> sparse.csr_matrix:
    """(S, S) callee by caller."""
    size = len(index.services)
    ones = np.ones(len(index.edges), np.float32)
    return sparse.csr_matrix((ones, (index.edge_callee, index.edge_caller)), shape=(size, size))


@lru_cache(maxsize=4)
def reachability(index: MeshIndex) -> NDArray[np.bool_]:
    """(S, A): whether the call graph has a path from an API's entry to a service. Cached by index."""
    services, apis = len(index.services), len(index.apis)
    reach = np.zeros((services, apis), np.bool_)
    if not apis:
        return reach
    calls = _calls(index)
    reach[index.edge_callee[index.api_edge], np.arange(apis)] = True
    frontier = reach.astype(np.float32)
    while frontier.any():
        found = np.asarray(calls @ frontier) > 0
        fresh = found & ~reach
        reach |= fresh
        frontier = fresh.astype(np.float32)
    return reach
