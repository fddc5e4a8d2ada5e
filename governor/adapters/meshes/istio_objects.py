"""Istio's objects of one host: which VirtualService and DestinationRule speak of it.

Host names without a dot are completed with the object's namespace, all others are taken as they are.
Sources: Istio, VirtualService and DestinationRule references ("host": short names), "Delegate"; a port's own
policy, and a subset's, replace blocks of the top level as `pilot/pkg/networking/util` merges them (1.31).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import Body, Found, Kind, Ref, Snapshot
from governor.adapters.meshes.gateway_objects import Route, attached_to_service, route_of
from governor.adapters.meshes.istio_callers import (
    SERVICE_ENTRY,
    gateways_of,
    is_kubernetes_gateway,
    selector_of,
    workload_of,
)
from governor.adapters.meshes.mesh import Place, Service, service_of

GROUP = "networking.istio.io"
VIRTUAL_SERVICE = Kind(GROUP, "v1", "virtualservices", "VirtualService")
DESTINATION_RULE = Kind(GROUP, "v1", "destinationrules", "DestinationRule")
ENVOY_FILTER = Kind(GROUP, "v1alpha3", "envoyfilters", "EnvoyFilter")
MESH_GATEWAY = "mesh"
"""The gateway that stands for all sidecars; the default where a VirtualService names none."""

HostKey = tuple[str, str]
"""Name and namespace of a service; or `*` and what a wildcard host ends in."""


def full_host(host: str, namespace: str) -> str:
    """The host as metrics call it."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"


def _key(host: str, namespace: str) -> HostKey | None:
    if host.startswith("*"):
        return "*", host[1:]
    named = service_of(full_host(host, namespace))
    return None if named is None else named.key


def _rule_hosts(ref: Ref, body: Body) -> Iterator[HostKey]:
    if (key := _key(str(body["spec"].get("host", "")), ref.namespace)) is not None:
        yield key


def _routed_hosts(ref: Ref, body: Body) -> Iterable[HostKey]:
    hosts = (
        str(route.get("destination", {}).get("host", ""))
        for entry in body["spec"].get("http") or ()
        for route in entry.get("route") or ()
    )
    return {key for host in hosts if (key := _key(host, ref.namespace)) is not None}


def _listed_hosts(ref: Ref, body: Body) -> Iterable[HostKey]:
    hosts = body["spec"].get("hosts") or ()
    return {key for host in hosts if (key := _key(str(host), ref.namespace)) is not None}


def _spoken_for(ref: Ref, body: Body) -> Iterable[HostKey]:
    """Hosts whose requests this VirtualService takes in sidecars."""
    return _listed_hosts(ref, body) if MESH_GATEWAY in _named_gateways(ref, body) else set()


def _delegated(ref: Ref, body: Body) -> Iterator[tuple[str, str]]:
    for entry in body["spec"].get("http") or ():
        if (to := entry.get("delegate")) is not None:
            yield to.get("name", ""), to.get("namespace") or ref.namespace


def concerns(ref: Ref, body: Body) -> frozenset[HostKey] | None:
    """Services that this object may have a say in; None for wildcards, delegates and selectors."""
    spec = body.get("spec") or {}
    if ref.kind == DESTINATION_RULE:
        found = frozenset(_rule_hosts(ref, body))
    elif ref.kind == VIRTUAL_SERVICE and spec.get("hosts") and not any(_delegated(ref, body)):
        found = frozenset({*_routed_hosts(ref, body), *_spoken_for(ref, body)})
    elif ref.kind == SERVICE_ENTRY:
        found = frozenset(_listed_hosts(ref, body))
    else:
        return None
    return None if any(name == "*" for name, _ in found) else found


def destination_rule(snapshot: Snapshot, place: Place) -> Found | None:
    """The rule of the callee's host, None if there is none; Inexpressible if several might apply.

    Also Inexpressible where only a wildcard's rule applies: one for the host alone would replace it whole.
    """
    service = place.callee
    hosts = snapshot.index(DESTINATION_RULE, _rule_hosts)
    found = [(ref, snapshot.objects[ref]) for ref in hosts.get(service.key, ())]
    for ref, body in found:
        if _is_only_for(body, snapshot, place, ref.namespace):
            raise Inexpressible(
                f"{ref} is for {place.caller} alone (workloadSelector) and comes before what holds for all "
                "callers: set its trafficPolicy by hand, or remove the selector"
            )
    found = [(ref, body) for ref, body in found if not body["spec"].get("workloadSelector")]
    if len(found) > 1:
        raise Inexpressible(
            f"{_names(found)} are all of {service.host}, and which of them holds depends on the client: "
            "merge them"
        )
    if not found:
        _refuse_wildcards(hosts, service, "rule")
    return found[0] if found else None


def virtual_service(snapshot: Snapshot, place: Place) -> Found | None:
    """The VirtualService whose routes lead this caller to the callee; Inexpressible if several do.

    A gateway uses those that are bound to it, everybody else those of the mesh. A delegate, which names neither
    hosts nor gateways, belongs where those that delegate to it belong.
    """
    service = place.callee
    refs = snapshot.index(VIRTUAL_SERVICE, _routed_hosts).get(service.key, ())
    bound = {ref: _gateways(snapshot, ref) for ref in refs}
    inside = [(ref, snapshot.objects[ref]) for ref in refs if MESH_GATEWAY in bound[ref]]
    outside = [(ref, snapshot.objects[ref]) for ref in refs if bound[ref] - {MESH_GATEWAY}]
    here = gateways_of(snapshot, place)
    if here is None and inside and outside and inside != outside:
        raise Inexpressible(
            f"{_names(outside)} and {_names(inside)} lead to {service.host}, and whether {place.caller} is a "
            f"gateway is not known: no Service of that name says which pods it is"
        )
    if here is None:
        found = inside or outside
    elif here:
        found = [(ref, body) for ref, body in outside if bound[ref] & here]
    else:
        found = inside
    if len(found) > 1:
        raise Inexpressible(
            f"{_names(found)} all lead to {service.host}, and which of them holds is undefined: merge them"
        )
    return found[0] if found else None


def attached_route(snapshot: Snapshot, place: Place) -> Route | None:
    """The HTTPRoute or GRPCRoute that is attached to the callee (GAMMA), None if there is none."""
    route = route_of(snapshot, place)
    return route if route is not None and attached_to_service(route) else None


def refuse_own_route(snapshot: Snapshot, place: Place) -> None:
    """Inexpressible where a VirtualService of the governor's own would take requests from one of the user's."""
    service = place.callee
    if (route := attached_route(snapshot, place)) is not None:
        raise Inexpressible(
            f"{route.ref} is attached to {service.host}, and a VirtualService beside it is undefined: name "
            "gateway-api in plane.kubernetes.meshes to have its route written"
        )
    if is_kubernetes_gateway(snapshot, place):
        raise Inexpressible(
            f"{place.caller} is a Gateway of the Gateway API, which takes no VirtualService: name gateway-api in "
            "plane.kubernetes.meshes to have its route written"
        )
    if gateways_of(snapshot, place):
        raise Inexpressible(
            f"no VirtualService of the gateway {place.caller} leads to {service.host}: write its route first"
        )
    hosts = snapshot.index(VIRTUAL_SERVICE, _spoken_for)
    for ref in hosts.get(service.key, ()):
        raise Inexpressible(
            f"{ref} takes the requests for {service.host}, but no http route of it leads there: a second one "
            "for the same host is undefined"
        )
    _refuse_wildcards(hosts, service, "VirtualService")


def _refuse_wildcards(hosts: Mapping[Any, tuple[Ref, ...]], service: Service, what: str) -> None:
    ends = ("", *(service.host[at:] for at, letter in enumerate(service.host) if letter == "."))
    for end in ends:
        for ref in hosts.get(("*", end), ()):
            raise Inexpressible(
                f"{ref} of *{end} covers {service.host}, and a {what} for this host alone would replace it: "
                f"write one for {service.host} with its settings"
            )


def _gateways(snapshot: Snapshot, ref: Ref) -> frozenset[str]:
    """The gateways that a VirtualService is bound to, as `namespace/name`, or `mesh`."""
    body = snapshot.objects[ref]
    if body["spec"].get("hosts"):
        return _named_gateways(ref, body)
    roots = snapshot.index(VIRTUAL_SERVICE, _delegated).get((ref.name, ref.namespace), ())
    return frozenset().union(*(_named_gateways(root, snapshot.objects[root]) for root in roots))


def _named_gateways(ref: Ref, body: Body) -> frozenset[str]:
    names = body["spec"].get("gateways") or (MESH_GATEWAY,)
    return frozenset(name if name == MESH_GATEWAY or "/" in name else f"{ref.namespace}/{name}" for name in names)


def entries(found: Found, service: Service) -> list[tuple[int, Mapping[str, Any]]]:
    """Entries of `spec.http` that lead to this service and no other, with their positions."""
    ref, body = found
    wanted = service.key
    return [
        (position, entry)
        for position, entry in enumerate(body["spec"].get("http") or ())
        if entry.get("route")
        and all(
            _key(str(route.get("destination", {}).get("host", "")), ref.namespace) == wanted
            for route in entry["route"]
        )
    ]


def blocked_by(rule: Body, block: Sequence[str]) -> str | None:
    """A subset or port whose own policy replaces `block` of the top level, in words; None if there is none.

    A port's policy replaces all blocks, those that it does not name as well.
    """
    top = block[0]
    policy = rule["spec"].get("trafficPolicy") or {}
    for port in policy.get("portLevelSettings") or ():
        return f"port {port.get('port', {}).get('number')}"
    for subset in rule["spec"].get("subsets") or ():
        own = subset.get("trafficPolicy") or {}
        if top in own or (own.get("portLevelSettings") and top != "retryBudget"):
            return f"subset {subset.get('name')}"
    return None


def _is_only_for(rule: Body, snapshot: Snapshot, place: Place, namespace: str) -> bool:
    wanted = (rule["spec"].get("workloadSelector") or {}).get("matchLabels") or {}
    name, where = workload_of(place)
    return bool(wanted) and where == namespace and wanted.items() <= selector_of(snapshot, name, where).items()


def _names(found: Iterable[Found]) -> str:
    return ", ".join(str(ref) for ref, _ in found)
