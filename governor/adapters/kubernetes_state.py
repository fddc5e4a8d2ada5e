"""All settings of a cluster as arrays over the mesh's index, worked out anew only where objects have changed.

Reading 100,000 edges' settings takes seconds; between two cycles few objects change. A mesh that can tell which
services an object speaks of (`SaysWhom`) spares the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import numpy as np

from governor.adapters.kubernetes_discovery import service_of_slice
from governor.adapters.kubernetes_objects import (
    ENDPOINT_SLICE,
    NAMESPACE,
    SERVICE,
    Body,
    Ref,
    Snapshot,
)
from governor.adapters.kubernetes_places import Neighbours, Places, setting_of, settings_of
from governor.adapters.meshes.mesh import Mesh, ServiceKey
from governor.domain import MeshIndex
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


@runtime_checkable
class SaysWhom(Protocol):
    """A mesh that can tell which services an object of its kinds speaks of."""

    def concerns(self, ref: Ref, body: Body) -> Iterable[ServiceKey] | None:
        """Services whose settings may follow from this object; None if that cannot be told from it alone."""


@dataclass(frozen=True, eq=False)
class Read:
    """Settings, and what they were read from."""

    meshes: tuple[Mesh, ...]
    snapshot: Snapshot
    places: Places
    state: KnobState


def read_settings(
    meshes: tuple[Mesh, ...], snapshot: Snapshot, index: MeshIndex, previous: Read | None = None
) -> Read:
    """All settings over `index`; NaN where nothing is set or an edge leads out of the cluster.

    Rows that nothing has touched since `previous` are taken over from there.
    """
    if previous is None or previous.places.index is not index:
        return _anew(meshes, snapshot, Places(Neighbours(index), snapshot))
    changed = changed_since(previous.snapshot, snapshot)
    if not changed and meshes == previous.meshes:
        return previous
    places = Places(previous.places.neighbours, snapshot)
    touched = touched_by(meshes, changed, previous.snapshot, snapshot)
    if touched is None or meshes != previous.meshes:
        return _anew(meshes, snapshot, places)
    columns = {f.name: getattr(previous.state, f.name).copy() for f in fields(KnobState)}
    read = Read(meshes, snapshot, places, replace(previous.state, **columns))
    _fill(read, _edges_of(touched, places))
    return read


def _anew(meshes: tuple[Mesh, ...], snapshot: Snapshot, places: Places) -> Read:
    read = Read(meshes, snapshot, places, KnobState.unset(places.index))
    _fill(read, range(len(places.index.edges)))
    return read


def _fill(read: Read, edges: Iterable[int]) -> None:
    """What the objects say of these edges, into the arrays of `read.state`."""
    meshes, snapshot, places, state = read.meshes, read.snapshot, read.places, read.state
    index, beside = places.index, places.neighbours
    for edge in edges:
        backends, apis = beside.backends.get(edge, ()), beside.apis.get(edge, ())
        _clear(state, edge, backends, apis)
        if beside.services[int(index.edge_callee[edge])] is None:
            continue
        for value in settings_of(meshes, snapshot, places.edge(edge)).values():
            _set(state, edge, value, {index.backends[row]: row for row in backends})
        for row in apis:
            limit = setting_of(meshes, snapshot, places.edge(edge, index.apis[row]), Knob.RATE_LIMIT)
            if isinstance(limit, RateLimit) and limit.requests_per_second is not None:
                state.limit[row] = limit.requests_per_second


def changed_since(old: Snapshot, new: Snapshot) -> list[Ref]:
    """Objects that came, went or changed."""
    return [
        ref
        for ref in old.objects.keys() | new.objects.keys()
        if (before := old.get(ref)) is not (after := new.get(ref))
        and not (before and after and version_of(before) == version_of(after))
    ]


def touched_by(
    meshes: Sequence[Mesh], changed: Iterable[Ref], old: Snapshot, new: Snapshot
) -> frozenset[ServiceKey] | None:
    """Services of which these objects speak or spoke; None if it may be any."""
    found: set[ServiceKey] = set()
    for ref in changed:
        for body in (old.get(ref), new.get(ref)):
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
        return service_of_slice(ref, body)
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
    hit = np.zeros(len(index.services), bool)
    for key in touched:
        hit[places.neighbours.positions.get(key, [])] = True
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
