"""What the cluster has: which kinds its API server serves, which meshes follow from that, and their objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_objects import (
    ENDPOINT_SLICE,
    NAMESPACE,
    SERVICE,
    Body,
    Kind,
    Ref,
    Snapshot,
    labels_of,
)
from governor.adapters.meshes.mesh import Mesh, Service, ServiceKey

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


def service_of_slice(ref: Ref, body: Body) -> tuple[ServiceKey, ...]:
    """The service whose endpoints this EndpointSlice holds; empty if it does not say."""
    name = labels_of(body).get(SERVICE_NAME)
    return () if name is None else ((name, ref.namespace),)


def slices_of(snapshot: Snapshot, service: ServiceKey) -> tuple[Ref, ...]:
    """The EndpointSlices of one service."""
    return snapshot.index(ENDPOINT_SLICE, service_of_slice).get(service, ())


def endpoints(snapshot: Snapshot) -> dict[ServiceKey, int]:
    """Ready addresses of each service, each counted once whatever its address families."""
    found: dict[ServiceKey, set[str]] = {}
    for ref, body in snapshot.of(ENDPOINT_SLICE):
        for key in service_of_slice(ref, body):
            ready = found.setdefault(key, set())
            for endpoint in body.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready", True):
                    target = endpoint.get("targetRef") or {}
                    ready.add(str(target.get("uid") or target.get("name") or endpoint["addresses"][0]))
    return {key: len(names) for key, names in found.items()}


def proxies_of(counts: Mapping[ServiceKey, int], service: Service | None) -> int:
    """Proxies of a service: one for each endpoint, at least one; 1 for who is no service of the cluster."""
    return 1 if service is None else max(1, counts.get(service.key, 1))
