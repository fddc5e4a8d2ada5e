"""Linkerd's objects of one service: the Service, its routes, its ServiceProfile.

Source: Linkerd, reference pages on HTTPRoutes and ServiceProfiles.
"""

from __future__ import annotations

from collections.abc import Iterable

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import SERVICE, Body, Found, Kind, Ref, Snapshot, annotations_of
from governor.adapters.meshes.gateway_objects import GRPC_ROUTE, HTTP_ROUTE, parents_of
from governor.adapters.meshes.mesh import Place, service_of

POLICY = "policy.linkerd.io"
SERVER = Kind(POLICY, "v1beta3", "servers", "Server")
LIMIT_POLICY = Kind(POLICY, "v1alpha1", "httplocalratelimitpolicies", "HTTPLocalRateLimitPolicy")
POLICY_ROUTE = Kind(POLICY, "v1beta3", "httproutes", "HTTPRoute")
SERVICE_PROFILE = Kind("linkerd.io", "v1alpha2", "serviceprofiles", "ServiceProfile")
ROUTES = (HTTP_ROUTE, GRPC_ROUTE, POLICY_ROUTE)
OPAQUE_PORTS = "config.linkerd.io/opaque-ports"


def service(snapshot: Snapshot, place: Place) -> Found:
    """The callee's Service; Inexpressible if Linkerd balances no requests to it."""
    ref = Ref(SERVICE, place.callee.namespace, place.callee.name)
    body = snapshot.get(ref)
    if body is None:
        raise Inexpressible(f"{ref} is not there")
    spec = body.get("spec", {})
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None":
        raise Inexpressible(f"{ref} has no address of its own, so Linkerd does not balance its requests")
    opaque = annotations_of(body).get(OPAQUE_PORTS, "")
    ports = [int(port["port"]) for port in spec.get("ports") or ()]
    if ports and all(_names_port(opaque, port) for port in ports):
        raise Inexpressible(f"all ports of {ref} are in {OPAQUE_PORTS}: Linkerd sees no requests there")
    return ref, body


def profile(snapshot: Snapshot, place: Place) -> Found | None:
    """The ServiceProfile that the caller's proxies use: of the caller's namespace, else of the callee's."""
    refs = snapshot.index(SERVICE_PROFILE, _profiled).get(place.callee.key, ())
    for namespace in (_namespace_of(place.caller), place.callee.namespace):
        for ref in refs:
            if ref.namespace == namespace:
                return ref, snapshot.objects[ref]
    return None


def routes(snapshot: Snapshot, place: Place) -> list[Found]:
    """The routes of the callee that hold for the caller: those of its own namespace, else the callee's."""
    key = place.callee.key
    refs = [ref for kind in ROUTES for ref in snapshot.index(kind, _parents).get(key, ())]
    for namespace in (_namespace_of(place.caller), place.callee.namespace):
        found = [(ref, snapshot.objects[ref]) for ref in refs if ref.namespace == namespace]
        if found:
            return found
    return []


def _names_port(text: str, port: int) -> bool:
    """Whether a list of ports and ranges (`25,4000-5000`) holds this one."""
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit() and int(first) <= port <= int(last or first):
            return True
    return False


def _namespace_of(caller: str) -> str:
    found = service_of(caller)
    return "" if found is None else found.namespace


def _profiled(ref: Ref, body: Body) -> Iterable[tuple[str, str]]:
    del body
    found = service_of(ref.name)
    return () if found is None else (found.key,)


def _parents(ref: Ref, body: Body) -> Iterable[tuple[str, str]]:
    return {where for kind, where, _ in parents_of(ref, body) if kind == "Service"}
