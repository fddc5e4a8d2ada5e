"""From the names in a mesh's index to places in a cluster, and from what objects say to arrays over the index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_discovery import endpoints, proxies_of
from governor.adapters.kubernetes_objects import Snapshot
from governor.adapters.meshes.mesh import Mesh, Place, service_of
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


class Places:
    """Every edge and API of an index, as a place in the cluster."""

    def __init__(self, index: MeshIndex, snapshot: Snapshot) -> None:
        self.index = index
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
        index = self.index
        host = index.services[int(index.edge_callee[edge])]
        callee = service_of(host)
        if callee is None:
            raise Inexpressible(f"{host} is no Kubernetes service (name.namespace.svc...)")
        caller = index.services[int(index.edge_caller[edge])]
        return Place(
            callee=callee,
            caller=caller,
            callers=self._callers[int(index.edge_callee[edge])],
            backends=self._backends.get(edge, ()),
            caller_proxies=proxies_of(self._counts, service_of(caller)),
            callee_proxies=proxies_of(self._counts, callee),
            api=api,
            apis=self._apis.get(edge, ()),
        )

    @cached_property
    def _callers(self) -> Mapping[int, tuple[str, ...]]:
        index = self.index
        found: dict[int, list[str]] = {}
        for caller, callee in zip(index.edge_caller.tolist(), index.edge_callee.tolist(), strict=True):
            found.setdefault(callee, []).append(index.services[caller])
        return {callee: tuple(sorted(set(callers))) for callee, callers in found.items()}

    @cached_property
    def _backends(self) -> Mapping[int, tuple[str, ...]]:
        return _grouped(self.index.backend_edge.tolist(), self.index.backends)

    @cached_property
    def _apis(self) -> Mapping[int, tuple[str, ...]]:
        return _grouped(self.index.api_edge.tolist(), self.index.apis)


def _grouped(edges: Sequence[int], names: Sequence[str]) -> Mapping[int, tuple[str, ...]]:
    return {edge: tuple(names[row] for row in rows) for edge, rows in rows_of(edges).items()}


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


def rows_of(edges: Sequence[int]) -> Mapping[int, list[int]]:
    """Positions in a table by the edge that each of its rows belongs to."""
    found: dict[int, list[int]] = {}
    for row, edge in enumerate(edges):
        found.setdefault(edge, []).append(row)
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
