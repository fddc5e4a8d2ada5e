"""From the names in a mesh's index to places in a cluster, and from what objects say to arrays over the index."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any, TypeVar

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_discovery import endpoints, proxies_of
from governor.adapters.kubernetes_objects import Snapshot
from governor.adapters.meshes.mesh import Mesh, Place, Service, ServiceKey, service_of
from governor.domain import MeshIndex
from governor.knobs import (
    VALUE_TYPES,
    BackendWeights,
    Knob,
    KnobValue,
    Target,
    TargetKind,
)
from governor.observe.index import EdgeName, mesh_index

Key = TypeVar("Key", bound=Hashable)


class Neighbours:
    """What belongs together in an index, by position; worked out once for it."""

    def __init__(self, index: MeshIndex) -> None:
        self.index = index

    @cached_property
    def services(self) -> tuple[Service | None, ...]:
        """The Kubernetes service of each service's host."""
        return tuple(service_of(host) for host in self.index.services)

    @cached_property
    def positions(self) -> Mapping[ServiceKey | None, list[int]]:
        """Services by name and namespace."""
        return rows_of([None if service is None else service.key for service in self.services])

    @cached_property
    def edges_into(self) -> Mapping[int, list[int]]:
        """Edges by callee."""
        return rows_of(self.index.edge_callee.tolist())

    @cached_property
    def callers(self) -> Mapping[int, tuple[str, ...]]:
        """Names of the services that call each service."""
        index = self.index
        return {
            callee: tuple(sorted({index.services[int(index.edge_caller[edge])] for edge in edges}))
            for callee, edges in self.edges_into.items()
        }

    @cached_property
    def backends(self) -> Mapping[int, list[int]]:
        """Rows of backends by edge."""
        return rows_of(self.index.backend_edge.tolist())

    @cached_property
    def apis(self) -> Mapping[int, list[int]]:
        """Rows of APIs by edge."""
        return rows_of(self.index.api_edge.tolist())


class Places:
    """Every edge and API of an index, as a place in the cluster that `snapshot` shows."""

    def __init__(self, neighbours: Neighbours, snapshot: Snapshot) -> None:
        self.index, self.neighbours = neighbours.index, neighbours
        self._counts = endpoints(snapshot)

    def of(self, target: Target) -> Place:
        """The place of a target; Inexpressible if it leads to no service of the cluster."""
        positions = self.index.edge_position if target.kind is TargetKind.EDGE else self.index.api_position
        if target.name not in positions:
            raise Inexpressible(f"{target} is not in the mesh that was last looked at")
        at = positions[target.name]
        if target.kind is TargetKind.EDGE:
            return self.edge(at)
        return self.edge(int(self.index.api_edge[at]), api=target.name)

    def edge(self, edge: int, api: str | None = None) -> Place:
        """The place of the edge at this position; Inexpressible if its callee is no service of the cluster."""
        index, beside = self.index, self.neighbours
        at, calling = int(index.edge_callee[edge]), int(index.edge_caller[edge])
        callee = beside.services[at]
        if callee is None:
            raise Inexpressible(f"{index.services[at]} is no Kubernetes service (name.namespace.svc...)")
        return Place(
            callee=callee,
            caller=index.services[calling],
            callers=beside.callers[at],
            backends=tuple(index.backends[row] for row in beside.backends.get(edge, ())),
            caller_proxies=proxies_of(self._counts, beside.services[calling]),
            callee_proxies=proxies_of(self._counts, callee),
            api=api,
            apis=tuple(index.apis[row] for row in beside.apis.get(edge, ())),
        )

    def edges_into(self, callee: Service) -> Iterator[tuple[str, str]]:
        """Names of all edges to a service, and of their callers."""
        index, beside = self.index, self.neighbours
        for at in beside.positions.get(callee.key, ()):
            for edge in beside.edges_into.get(at, ()):
                yield index.edges[edge], index.services[int(index.edge_caller[edge])]


def settings_of(meshes: Sequence[Mesh], snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
    """What the objects of all meshes say of a place; where several say the same knob, the first mesh counts."""
    found: dict[Knob, KnobValue] = {}
    for mesh in reversed(meshes):
        found |= mesh.settings(snapshot, place)
    return found


def setting_of(meshes: Sequence[Mesh], snapshot: Snapshot, place: Place, knob: Knob) -> KnobValue:
    """One knob's value, with None for all that is not set."""
    said = settings_of(meshes, snapshot, place).get(knob)
    if said is not None:
        return said
    if knob is Knob.WEIGHTS:
        return BackendWeights(())
    nothing: dict[str, Any] = dict.fromkeys(f.name for f in fields(VALUE_TYPES[knob]))
    return VALUE_TYPES[knob](**nothing)


def index_of(target: Target) -> MeshIndex:
    """The index of one target alone, from its name: `caller|host` for edges, the host for APIs."""
    if target.kind is TargetKind.EDGE:
        caller, _, callee = target.name.partition("|")
        return mesh_index([EdgeName(target.name, caller, callee)])
    caller, _, host = target.name.rpartition("/")
    edge = f"{caller}|{host}"
    return mesh_index([EdgeName(edge, caller, host)], apis={target.name: edge})


def rows_of(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Positions in a table by the key of each of its rows."""
    found: dict[Key, list[int]] = {}
    for row, key in enumerate(keys):
        found.setdefault(key, []).append(row)
    return found


FOLLOWS_ONE = frozenset({Knob.WEIGHTS, Knob.RETRIES, Knob.OUTLIER_DETECTION})
"""Knobs about the callee, or relative ones: one caller's view may set them for all callers of an object."""


def shared_by(place: Place, knob: Knob, followed: Callable[[Place, Knob], str | None]) -> str | None:
    """Why this edge may not write an object that serves all callers of its callee, or None.

    `followed` gives the caller whose decision is in force there already, if any.
    """
    if len(place.callers) < 2 or knob is Knob.RATE_LIMIT:
        return None
    others = ", ".join(name for name in place.callers if name != place.caller)
    if knob not in FOLLOWS_ONE:
        return (
            f"the objects of {place.callee.host} serve all of its callers ({others} as well), and a {knob.value} "
            f"that fits {place.caller} may not fit them"
        )
    leader = followed(place, knob)
    if leader is not None and leader != place.caller:
        return f"the objects of {place.callee.host} serve all callers, and follow {leader} already"
    return None
