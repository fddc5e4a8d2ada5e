"""What the cluster has: which kinds its API server serves, which meshes follow from that, and their objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_objects import ENDPOINT_SLICE, NAMESPACE, SERVICE, Body, Kind, Ref, Snapshot
from governor.adapters.meshes.mesh import Mesh, Service

CORE = (SERVICE, NAMESPACE, ENDPOINT_SLICE)
SERVICE_NAME = "kubernetes.io/service-name"
"""Label of an EndpointSlice that names its service."""


def installed(api: KubernetesApi, kinds: Iterable[Kind]) -> frozenset[Kind]:
    """Those of `kinds` that the API server serves; one request for each group and version."""
    asked = set(kinds)
    served = {
        (group, version): api.served(group, version) for group, version in {(k.group, k.version) for k in asked}
    }
    return frozenset(kind for kind in asked if kind.plural in served[kind.group, kind.version])


def present(meshes: Sequence[Mesh], served: frozenset[Kind], *, named: bool = False) -> tuple[Mesh, ...]:
    """Meshes whose first kind is installed, in the given order.

    Unless they were `named` one by one, one whose objects another, more specific one reads as well gives way to
    it: what Linkerd refuses must not be written to a route as if nobody but the Gateway API were there.
    """
    there = [mesh for mesh in meshes if mesh.kinds[0] in served]
    if named:
        return tuple(there)
    return tuple(
        mesh for position, mesh in enumerate(there) if not any(_covers(other, mesh) for other in there[:position])
    )


def _covers(special: Mesh, general: Mesh) -> bool:
    return general.kinds[0] in special.kinds and special.kinds[0] not in general.kinds


def snapshot(api: KubernetesApi, kinds: Iterable[Kind], namespaces: Sequence[str] = ()) -> Snapshot:
    """All objects of the installed `kinds`, of some namespaces only if they are given."""
    kinds = frozenset(kinds)
    objects: dict[Ref, Body] = {}
    for kind in sorted(kinds):
        for namespace in namespaces if kind.namespaced and namespaces else (None,):
            objects.update(api.list_of(kind, namespace))
    return Snapshot(objects, kinds)


def endpoints(snapshot: Snapshot) -> dict[tuple[str, str], int]:
    """Ready addresses of each service (namespace, name), each counted once whatever its address families."""
    found: dict[tuple[str, str], set[str]] = {}
    for ref, body in snapshot.of(ENDPOINT_SLICE):
        name = (body["metadata"].get("labels") or {}).get(SERVICE_NAME)
        if name is None:
            continue
        ready = found.setdefault((ref.namespace, name), set())
        for endpoint in body.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True):
                target = endpoint.get("targetRef") or {}
                ready.add(str(target.get("uid") or target.get("name") or endpoint["addresses"][0]))
    return {key: len(names) for key, names in found.items()}


def proxies_of(counts: dict[tuple[str, str], int], service: Service | None) -> int:
    """Proxies of a service: one for each endpoint, at least one; 1 for who is no service of the cluster."""
    return 1 if service is None else max(1, counts.get((service.namespace, service.name), 1))
