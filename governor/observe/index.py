"""The index of a mesh from the names that a source found, kept the same object while they stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from governor.domain import MeshIndex


class EdgeName(NamedTuple):
    """One edge as a source knows it."""

    name: str
    caller: str
    callee: str


def mesh_index(
    edges: Iterable[EdgeName],
    backends: Iterable[tuple[str, str]] = (),
    apis: Mapping[str, str] | None = None,
    previous: MeshIndex | None = None,
) -> MeshIndex:
    """Index over `edges`, `backends` (edge, name) and `apis` (name to edge), each in order of their names.

    Backends and APIs of an edge that is not there are left out. Gives `previous` itself if nothing changed.
    """
    by_name = {edge.name: edge for edge in edges}
    names = sorted(by_name)
    at = {name: i for i, name in enumerate(names)}
    services = sorted({e.caller for e in by_name.values()} | {e.callee for e in by_name.values()})
    place = {name: i for i, name in enumerate(services)}
    kept = sorted({(edge, name) for edge, name in backends if edge in at})
    entries = sorted((api, edge) for api, edge in (apis or {}).items() if edge in at)
    found = MeshIndex(
        services=tuple(services),
        edges=tuple(names),
        edge_caller=np.array([place[by_name[n].caller] for n in names], np.int32),
        edge_callee=np.array([place[by_name[n].callee] for n in names], np.int32),
        backends=tuple(name for _, name in kept),
        backend_edge=np.array([at[edge] for edge, _ in kept], np.int32),
        apis=tuple(api for api, _ in entries),
        api_edge=np.array([at[edge] for _, edge in entries], np.int32),
    )
    return previous if previous is not None and _same(previous, found) else found


def _same(one: MeshIndex, other: MeshIndex) -> bool:
    return (
        one.same_names(other)
        and np.array_equal(one.edge_caller, other.edge_caller)
        and np.array_equal(one.edge_callee, other.edge_callee)
        and np.array_equal(one.api_edge, other.api_edge)
    )
