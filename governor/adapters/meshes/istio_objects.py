"""Istio's objects of one host: which VirtualService and DestinationRule speak of it.

Host names without a dot are completed with the object's namespace, all others are taken as they are.
Source: Istio, VirtualService and DestinationRule references ("host": short names).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import Body, Kind, Ref, Snapshot, labels_of
from governor.adapters.meshes.mesh import Place, Service, service_of

GROUP = "networking.istio.io"
VIRTUAL_SERVICE = Kind(GROUP, "v1", "virtualservices", "VirtualService")
DESTINATION_RULE = Kind(GROUP, "v1", "destinationrules", "DestinationRule")
ENVOY_FILTER = Kind(GROUP, "v1alpha3", "envoyfilters", "EnvoyFilter")
MESH_GATEWAY = "mesh"
"""The gateway that stands for all sidecars; the default where a VirtualService names none."""

Found = tuple[Ref, Body]


def full_host(host: str, namespace: str) -> str:
    """The host as metrics call it."""
    return host if "." in host else f"{host}.{namespace}.svc.cluster.local"


def _same_host(host: str, namespace: str, service: Service) -> bool:
    named = service_of(full_host(host, namespace))
    return named is not None and (named.name, named.namespace) == (service.name, service.namespace)


def _rule_hosts(ref: Ref, body: Body) -> Iterator[tuple[str, str]]:
    named = service_of(full_host(str(body["spec"].get("host", "")), ref.namespace))
    if named is not None:
        yield named.name, named.namespace


def _routed_hosts(ref: Ref, body: Body) -> Iterable[tuple[str, str]]:
    hosts = set()
    for entry in body["spec"].get("http") or ():
        for route in entry.get("route") or ():
            named = service_of(full_host(str(route.get("destination", {}).get("host", "")), ref.namespace))
            if named is not None:
                hosts.add((named.name, named.namespace))
    return hosts


def destination_rule(snapshot: Snapshot, service: Service) -> Found | None:
    """The rule of a host, None if there is none; Inexpressible if several might apply.

    Rules with a workloadSelector are for some clients only, and are left out.
    """
    refs = snapshot.index(DESTINATION_RULE, _rule_hosts).get((service.name, service.namespace), ())
    found = [(ref, snapshot.objects[ref]) for ref in refs]
    found = [(ref, body) for ref, body in found if not body["spec"].get("workloadSelector")]
    if len(found) > 1:
        names = ", ".join(str(ref) for ref, _ in found)
        raise Inexpressible(f"{names} are all of {service.host}, and which of them holds depends on the client")
    return found[0] if found else None


def virtual_service(snapshot: Snapshot, place: Place) -> Found | None:
    """The VirtualService whose routes lead this caller to the callee; Inexpressible if several do.

    A caller that is a service of the cluster uses those of the mesh, any other (an ingress gateway) those that
    are bound to gateways where there are any.
    """
    service = place.callee
    refs = snapshot.index(VIRTUAL_SERVICE, _routed_hosts).get((service.name, service.namespace), ())
    found = [(ref, snapshot.objects[ref]) for ref in refs]
    inside = [pair for pair in found if MESH_GATEWAY in (pair[1]["spec"].get("gateways") or (MESH_GATEWAY,))]
    outside = [pair for pair in found if set(pair[1]["spec"].get("gateways") or ()) - {MESH_GATEWAY}]
    found = inside if service_of(place.caller) is not None or not outside else outside
    if len(found) > 1:
        names = ", ".join(str(ref) for ref, _ in found)
        raise Inexpressible(f"{names} all lead to {service.host}, and which of them holds is undefined")
    return found[0] if found else None


def entries(found: Found, service: Service) -> list[tuple[int, Mapping[str, Any]]]:
    """Entries of `spec.http` that lead to this service and no other, with their positions."""
    ref, body = found
    return [
        (position, entry)
        for position, entry in enumerate(body["spec"].get("http") or ())
        if entry.get("route")
        and all(
            _same_host(str(route.get("destination", {}).get("host", "")), ref.namespace, service)
            for route in entry["route"]
        )
    ]


def selector_of(snapshot: Snapshot, service: Service) -> Mapping[str, str]:
    """The labels by which the service finds its pods; empty if it has none or is not there."""
    from governor.adapters.kubernetes_objects import SERVICE

    body = snapshot.get(Ref(SERVICE, service.namespace, service.name))
    found: Mapping[str, str] = (body or {}).get("spec", {}).get("selector") or {}
    return found


def is_own(body: Body) -> bool:
    """Whether the governor made this object."""
    return labels_of(body).get("app.kubernetes.io/managed-by") == "mesh-governor"


def blocked_by(rule: Body, block: Sequence[str]) -> str | None:
    """A subset or port whose own policy replaces `block` of the top level, in words; None if there is none."""
    top = block[0]
    for subset in rule["spec"].get("subsets") or ():
        if top in (subset.get("trafficPolicy") or {}):
            return f"subset {subset.get('name')}"
    for port in (rule["spec"].get("trafficPolicy") or {}).get("portLevelSettings") or ():
        if top in port:
            return f"port {port.get('port', {}).get('number')}"
    return None
