"""All meshes that the governor can write, in the order in which they are asked for a value.

A specific mesh comes before the general API that it also implements.
"""

from __future__ import annotations

from collections.abc import Iterable

from governor.adapters.kubernetes_objects import Kind
from governor.adapters.meshes import (
    cilium,
    envoy_gateway,
    gateway_api,
    istio,
    istio_ambient,
    knative,
    linkerd,
    smi,
)
from governor.adapters.meshes.mesh import Mesh
from governor.errors import DocumentError

MESHES: tuple[Mesh, ...] = (
    istio.MESH,
    istio_ambient.MESH,
    envoy_gateway.MESH,
    linkerd.MESH,
    smi.MESH,
    smi.OLDER,
    knative.MESH,
    cilium.MESH,
    gateway_api.MESH,
)


def all_kinds(meshes: Iterable[Mesh]) -> tuple[Kind, ...]:
    """Every kind that these meshes read, once."""
    return tuple(dict.fromkeys(kind for mesh in meshes for kind in mesh.kinds))


def meshes_called(names: Iterable[str]) -> tuple[Mesh, ...]:
    """The meshes of these names in the order of `MESHES`, all for no name; DocumentError for a strange one."""
    wanted = tuple(names)
    known = {mesh.name: mesh for mesh in MESHES}
    strange = [name for name in wanted if name not in known]
    if strange:
        raise DocumentError(f"plane.kubernetes.meshes: {strange[0]!r} is unknown; known: {', '.join(known)}")
    return tuple(mesh for mesh in MESHES if not wanted or mesh.name in wanted)
