"""Who calls: a workload with a sidecar, or a gateway, to which other VirtualServices apply.

Source: Istio, Gateway reference (`selector`: labels of the pods that are this gateway).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from governor.adapters.kubernetes_objects import SERVICE, Body, Found, Kind, Ref, Snapshot
from governor.adapters.meshes.mesh import Place, Service, service_of

GATEWAY = Kind("networking.istio.io", "v1", "gateways", "Gateway")
SERVICE_ENTRY = Kind("networking.istio.io", "v1", "serviceentries", "ServiceEntry")
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""Label of the pods of a Gateway API's Gateway, and so in the selector of its Service."""


def workload_of(place: Place) -> tuple[str, str]:
    """Name and namespace of the caller: a service's host, or `name.namespace` of who is nobody's callee."""
    caller = service_of(place.caller)
    if caller is not None:
        return caller.name, caller.namespace
    name, _, namespace = place.caller.partition(".")
    return name, namespace or place.callee.namespace


def selector_of(snapshot: Snapshot, name: str, namespace: str) -> Mapping[str, str]:
    """The labels by which this service finds its pods; empty if it has none or is not there."""
    body = snapshot.get(Ref(SERVICE, namespace, name))
    found: Mapping[str, str] = (body or {}).get("spec", {}).get("selector") or {}
    return found


def ports_of(snapshot: Snapshot, service: Service) -> tuple[int, ...]:
    """Port numbers of the service, or of the ServiceEntries of its host; empty if neither is there."""
    body = snapshot.get(Ref(SERVICE, service.namespace, service.name))
    bodies = [body] if body is not None else [entry for _, entry in service_entries(snapshot, service)]
    ports = [port for found in bodies for port in found["spec"].get("ports") or ()]
    return tuple(dict.fromkeys(int(port.get("port") or port["number"]) for port in ports))


def service_entries(snapshot: Snapshot, service: Service) -> list[Found]:
    """The ServiceEntries of the service's host."""
    refs = snapshot.index(SERVICE_ENTRY, _entry_hosts).get(service.host, ())
    return [(ref, snapshot.objects[ref]) for ref in refs]


def _entry_hosts(ref: Ref, body: Body) -> Iterable[str]:
    del ref
    return body["spec"].get("hosts") or ()


def gateways_of(snapshot: Snapshot, place: Place) -> frozenset[str] | None:
    """Gateways (`namespace/name`) whose pods the caller is; empty for a sidecar, None if that is not known."""
    labels = selector_of(snapshot, *workload_of(place))
    if not labels:
        return frozenset() if service_of(place.caller) is not None else None
    return frozenset(
        f"{ref.namespace}/{ref.name}"
        for ref, body in snapshot.of(GATEWAY)
        if (wanted := (body.get("spec") or {}).get("selector")) and wanted.items() <= labels.items()
    )


def is_gateway(snapshot: Snapshot, place: Place) -> bool:
    """Whether the caller's pods are known to be a gateway, Istio's or the Gateway API's."""
    return is_kubernetes_gateway(snapshot, place) or bool(gateways_of(snapshot, place))


def is_kubernetes_gateway(snapshot: Snapshot, place: Place) -> bool:
    """Whether the caller is the Service of a Gateway API's Gateway."""
    return GATEWAY_NAME in selector_of(snapshot, *workload_of(place))
