"""Small situations for the tests of single laws: a mesh that is well, and what a test says is different.

`situation(chain(), edge={"rate": [200.0, 150.0]}, knobs={"cap_default": 54.0})`: each keyword names a table, each
key a column of it; one number holds for all rows. Requests take 20 ms at a service of 36 workers (1800/s).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governor.decide import backends, cost_matrix
from governor.decide.capacity import CapacityBelief
from governor.decide.load import service_load
from governor.decide.outlook import Outlook
from governor.decide.situation import Situation
from governor.domain import MeshFrame, MeshIndex, RateSamples
from governor.knobs import KnobState, Proposal
from governor.policy import preset, resolve
from governor.policy_view import PolicyView
from governor.proposals import Batch
from tests.frames import trusted_frame

Columns = Mapping[str, ArrayLike]
WINDOW_S = 15.0
RATE = 200.0
LATENCY_S = 0.02
CAPACITY = 1800.0
APIS = ("buy.high", "look.low")


@lru_cache
def mesh(calls: tuple[str, ...], apis: tuple[str, ...] = APIS, pool: int = 0) -> MeshIndex:
    """A mesh of `calls`, each "caller callee"; all APIs enter by the first; `pool` backends on each edge."""
    pairs = [call.split() for call in calls]
    services = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    caller, callee = ([services.index(pair[k]) for pair in pairs] for k in (0, 1))
    return MeshIndex(
        services=services,
        edges=tuple(f"{a}|{b}" for a, b in pairs),
        edge_caller=np.array(caller, np.int32),
        edge_callee=np.array(callee, np.int32),
        backends=tuple(f"10.0.0.{k}" for _ in pairs for k in range(pool)),
        backend_edge=np.repeat(np.arange(len(pairs), dtype=np.int32), pool),
        apis=apis,
        api_edge=np.zeros(len(apis), np.int32),
    )


def one(apis: tuple[str, ...] = APIS, pool: int = 0) -> MeshIndex:
    """One service, "web", position 1."""
    return mesh(("client web",), apis, pool)


def chain(apis: tuple[str, ...] = APIS, pool: int = 0) -> MeshIndex:
    """Two services in a row: "front", position 1, calls "back", position 2."""
    return mesh(("client front", "front back"), apis, pool)


def column(value: ArrayLike, size: int) -> NDArray[np.float32]:
    return np.array(np.broadcast_to(np.asarray(value, np.float32), size))


def _table(columns: Columns, given: Columns | None, size: int) -> dict[str, NDArray[np.float32]]:
    return {name: column(value, size) for name, value in {**columns, **(given or {})}.items()}


def frame(
    index: MeshIndex,
    *,
    service: Columns | None = None,
    edge: Columns | None = None,
    backend: Columns | None = None,
    api: Columns | None = None,
    window_s: float = WINDOW_S,
) -> MeshFrame:
    """One window; what is not named is as in a mesh that is well, or was not measured.

    Attempts, those in flight and latencies follow from `rate` where they are not named themselves.
    """
    sizes = index.sizes
    rate = column((edge or {}).get("rate", RATE), sizes["edge"])
    attempts = column((edge or {}).get("attempts", rate), sizes["edge"])
    offered = column((api or {}).get("offered", RATE / max(sizes["api"], 1)), sizes["api"])
    well: dict[str, dict[str, ArrayLike]] = {
        "service": {},
        "edge": {"rate": rate, "attempts": attempts, "in_flight": attempts * LATENCY_S, "latency_mean": LATENCY_S}
        | dict.fromkeys(("errors", "retries", "timeouts", "overflow"), 0.0)
        | {"latency_p50": LATENCY_S, "latency_p99": 2 * LATENCY_S, "latency_p999": 3 * LATENCY_S},
        "backend": {"errors": 0.0} | _shared(index, attempts),
        "api": {"offered": offered, "completed": offered, "limited": 0.0, "errors": 0.0},
    }
    rows = round(window_s)
    samples = RateSamples(column(offered, (rows, len(offered))), column(RATE, (rows, sizes["service"])))
    given = {"service": service, "edge": edge, "backend": backend, "api": api}
    tables = {name: _table(columns, given[name], sizes[name]) for name, columns in well.items()}
    return trusted_frame(0.0, window_s, index, **tables, samples=samples)


def _shared(index: MeshIndex, attempts: NDArray[np.float32]) -> dict[str, ArrayLike]:
    """Each edge's attempts, evenly over its pool."""
    pool = index.backend_edge
    rate = attempts[pool] / np.bincount(pool, minlength=len(attempts))[pool]
    return {"rate": rate, "in_flight": rate * LATENCY_S}


def knobs_set(index: MeshIndex, settings: Columns | None = None) -> KnobState:
    """Nothing set but `settings`."""
    unset = KnobState.unset(index)
    given = (settings or {}).items()
    return replace(unset, **{name: column(value, len(getattr(unset, name))) for name, value in given})


def believed(index: MeshIndex, given: Columns | None = None) -> CapacityBelief:
    """Capacity and latencies of every service known, no queue, calm; `given` columns are different."""
    size = len(index.services)
    known: dict[str, ArrayLike] = {
        "capacity": CAPACITY,
        "seen": RATE,
        "base_latency": LATENCY_S,
        "path_latency": LATENCY_S,
        "queued": 0.0,
    }
    flags = {"saturated": False, "calm": True}
    columns = {
        name: np.array(np.broadcast_to(np.asarray(value, np.bool_ if name in flags else np.float64), size))
        for name, value in {**known, **flags, **(given or {})}.items()
    }
    return replace(CapacityBelief.unknown(size), **columns)


def policy_of(index: MeshIndex, **given: ArrayLike) -> PolicyView:
    """The balanced preset (500 ms for 99 %, 99.9 % available); `given` columns are different."""
    view = resolve([preset("balanced")], index)
    columns = {
        name: np.array(np.broadcast_to(np.asarray(value, getattr(view, name).dtype), getattr(view, name).shape))
        for name, value in given.items()
    }
    return replace(view, **columns)


def situation(
    index: MeshIndex,
    *,
    knobs: Columns | None = None,
    belief: Columns | None = None,
    policy: Columns | None = None,
    cost: ArrayLike | None = None,
    evidence: backends.BackendEvidence | None = None,
    own_share: ArrayLike | None = None,
    window: MeshFrame | None = None,
    service: Columns | None = None,
    edge: Columns | None = None,
    backend: Columns | None = None,
    api: Columns | None = None,
    outlook: Outlook | None = None,
) -> Situation:
    """What a law looks at; `evidence` on backends is that of this one window unless it is given."""
    seen = window or frame(index, service=service, edge=edge, backend=backend, api=api)
    state = knobs_set(index, knobs)
    if cost is None:
        cost = cost_matrix.solve(cost_matrix.CostState.empty(len(index.apis), len(index.services)), index)
    if evidence is None:
        evidence, _ = backends.update(backends.BackendEvidence.none(len(index.backends)), seen, state.weight)
    pool = np.bincount(index.backend_edge, minlength=len(index.edges))[index.backend_edge]
    return Situation(
        frame=seen,
        knobs=state,
        policy=policy_of(index, **(policy or {})),
        load=service_load(seen),
        belief=believed(index, belief),
        backends=evidence,
        found=backends.judge(evidence, index.backend_edge),
        cost=np.asarray(cost, np.float64),
        period_s=WINDOW_S,
        own_share=np.asarray(1.0 / pool if own_share is None else own_share, np.float64),
        outlook=Outlook.calm(index) if outlook is None else outlook,
    )


def only(batch: Batch) -> Proposal:
    """The one proposal of a batch."""
    assert len(batch) == 1
    return batch.build(0)
