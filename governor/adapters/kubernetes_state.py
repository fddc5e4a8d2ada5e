"""All settings of a cluster as arrays over the mesh's index, worked out anew only where objects have changed.

Reading 100,000 edges' settings takes seconds; between two cycles few objects change. A mesh that can tell which
services an object speaks of (`SaysWhom`) spares the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import numpy as np

from governor.adapters.kubernetes_discovery import SERVICE_NAME
from governor.adapters.kubernetes_objects import (
    ENDPOINT_SLICE,
    NAMESPACE,
    SERVICE,
    Body,
    Ref,
    Snapshot,
    labels_of,
)
from governor.adapters.kubernetes_places import Places, rows_of, setting_of, settings_of
from governor.adapters.meshes.mesh import Mesh, service_of
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobState,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
)

ServiceKey = tuple[str, str]
"""Name and namespace."""


@runtime_checkable
class SaysWhom(Protocol):
    """A mesh that can tell which services an object of its kinds speaks of."""

    def concerns(self, ref: Ref, body: Body) -> Iterable[ServiceKey] | None:
        """Services whose settings may follow from this object; None if that cannot be told from it alone."""


@dataclass(frozen=True, eq=False)
class Read:
    """Settings, and what they were read from."""

    snapshot: Snapshot
    places: Places
    state: KnobState


def state_of(
    meshes: Sequence[Mesh], snapshot: Snapshot, places: Places, previous: Read | None = None
) -> KnobState:
    """All settings over the index of `places`; NaN where nothing is set or an edge leads out of the cluster.

    Rows that nothing has touched since `previous` are taken over from there.
    """
    index = places.index
    touched = None
    if previous is not None and previous.places.index is index:
        touched = touched_since(meshes, previous.snapshot, snapshot)
    if touched is None or previous is None:
        state, edges = KnobState.unset(index), list(range(len(index.edges)))
    else:
        columns = {f.name: getattr(previous.state, f.name).copy() for f in fields(KnobState)}
        state = replace(previous.state, **columns)
        edges = _edges_of(touched, places)
    backends, apis = rows_of(index.backend_edge.tolist()), rows_of(index.api_edge.tolist())
    for edge in edges:
        _clear(state, edge, backends.get(edge, ()), apis.get(edge, ()))
        if service_of(index.services[int(index.edge_callee[edge])]) is None:
            continue
        for value in settings_of(meshes, snapshot, places.edge(edge)).values():
            _set(state, edge, value, {index.backends[row]: row for row in backends.get(edge, ())})
        for row in apis.get(edge, ()):
            limit = setting_of(meshes, snapshot, places.edge(edge, index.apis[row]), Knob.RATE_LIMIT)
            if isinstance(limit, RateLimit) and limit.requests_per_second is not None:
                state.limit[row] = limit.requests_per_second
    return state


def touched_since(meshes: Sequence[Mesh], old: Snapshot, new: Snapshot) -> frozenset[ServiceKey] | None:
    """Services of which an object speaks that came, went or changed; None if it may be any."""
    found: set[ServiceKey] = set()
    for ref in old.objects.keys() | new.objects.keys():
        before, after = old.get(ref), new.get(ref)
        if before is after or (before and after and version_of(before) == version_of(after)):
            continue
        for body in (before, after):
            if body is None:
                continue
            whom = _whom(meshes, ref, body)
            if whom is None:
                return None
            found.update(whom)
    return frozenset(found)


def version_of(body: Body) -> str:
    """The object's resourceVersion."""
    return str(body["metadata"].get("resourceVersion", ""))


def _whom(meshes: Sequence[Mesh], ref: Ref, body: Body) -> Iterable[ServiceKey] | None:
    if ref.kind == NAMESPACE:
        return None  # its labels may put all of its services into another mode
    if ref.kind == SERVICE:
        return [(ref.name, ref.namespace)]
    if ref.kind == ENDPOINT_SLICE:
        return [(labels_of(body).get(SERVICE_NAME, ""), ref.namespace)]
    found: list[ServiceKey] = []
    for mesh in meshes:
        if ref.kind in mesh.kinds:
            whom = mesh.concerns(ref, body) if isinstance(mesh, SaysWhom) else None
            if whom is None:
                return None
            found += whom
    return found


def _edges_of(touched: frozenset[ServiceKey], places: Places) -> list[int]:
    """Edges from or to one of these services."""
    index = places.index
    named = [service_of(host) for host in index.services]
    hit = np.array([s is not None and (s.name, s.namespace) in touched for s in named], bool)
    if not hit.any():
        return []
    found: list[int] = np.flatnonzero(hit[index.edge_caller] | hit[index.edge_callee]).tolist()
    return found


_COLUMNS: Mapping[type, Mapping[str, str]] = {
    InFlightCap: {"default": "cap_default", "high": "cap_high"},
    RetryPolicy: {"attempts": "attempts", "budget": "retry_budget"},
    Timeout: {"request_s": "timeout", "per_try_s": "per_try_timeout"},
    OutlierDetection: {"max_ejection": "max_ejection", "consecutive_5xx": "consecutive_5xx"},
    ConnectionLimits: {"max_connections": "max_connections", "max_pending_requests": "max_pending"},
}


def _set(state: KnobState, edge: int, value: KnobValue, rows: Mapping[str, int]) -> None:
    if isinstance(value, BackendWeights):
        for name, share in value.shares:
            if name in rows:
                state.weight[rows[name]] = share
        return
    for attribute, column in _COLUMNS.get(type(value), {}).items():
        number = getattr(value, attribute)
        if number is not None:
            getattr(state, column)[edge] = number


def _clear(state: KnobState, edge: int, backends: Sequence[int], apis: Sequence[int]) -> None:
    for columns in _COLUMNS.values():
        for column in columns.values():
            getattr(state, column)[edge] = np.nan
    state.weight[list(backends)] = np.nan
    state.limit[list(apis)] = np.nan
