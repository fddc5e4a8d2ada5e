"""Ambient mode or sidecars: which proxies stand in the way of a service's requests.

Source: Istio, "Configure waypoint proxies" (labels of namespaces and Services; a
Service's own label comes first).
"""

from __future__ import annotations

from governor.adapters.kubernetes_discovery import endpoints, slices_of
from governor.adapters.kubernetes_objects import NAMESPACE, SERVICE, Ref, Snapshot, labels_of
from governor.adapters.meshes.gateway_objects import GATEWAY
from governor.adapters.meshes.istio_callers import is_gateway
from governor.adapters.meshes.mesh import Place, Service

DATA_PLANE = "istio.io/dataplane-mode"
USE_WAYPOINT = "istio.io/use-waypoint"
WAYPOINT_NAMESPACE = "istio.io/use-waypoint-namespace"
GATEWAYS_TOO = "istio.io/ingress-use-waypoint"
NONE = "none"


def is_ambient(snapshot: Snapshot, service: Service) -> bool:
    """Whether the service's pods have no sidecars: it, or its namespace, is labelled for ambient mode."""
    return (
        _label(snapshot, service, DATA_PLANE) == "ambient"
        or (_label(snapshot, service, USE_WAYPOINT) or NONE) != NONE
    )


def of_ambient(snapshot: Snapshot, place: Place) -> bool:
    """Whether this edge is ambient mode's: gateways go past waypoints unless a label says otherwise."""
    return is_ambient(snapshot, place.callee) and not (
        is_gateway(snapshot, place) and _label(snapshot, place.callee, GATEWAYS_TOO) != "true"
    )


def waypoint_of(snapshot: Snapshot, service: Service) -> Ref | None:
    """The waypoint's Gateway that takes the service's requests; None if none is named, or it is not there."""
    name = _label(snapshot, service, USE_WAYPOINT)
    if name is None or name == NONE:
        return None
    ref = Ref(GATEWAY, _label(snapshot, service, WAYPOINT_NAMESPACE) or service.namespace, name)
    # Those of other namespaces may not have been read: then the label is believed.
    read = GATEWAY in snapshot.installed and ref.namespace == service.namespace
    return None if read and snapshot.get(ref) is None else ref


def proxies_of_waypoint(snapshot: Snapshot, waypoint: Ref) -> int:
    """Proxies of the waypoint, whose Service is called as its Gateway; at least one."""
    key = (waypoint.name, waypoint.namespace)
    slices = slices_of(snapshot, key)
    return max(1, endpoints(Snapshot({ref: snapshot.objects[ref] for ref in slices})).get(key, 1))


def _label(snapshot: Snapshot, service: Service, name: str) -> str | None:
    for ref in (Ref(SERVICE, service.namespace, service.name), Ref(NAMESPACE, "", service.namespace)):
        found = labels_of(snapshot.get(ref) or {}).get(name)
        if found is not None:
            return found
    return None
