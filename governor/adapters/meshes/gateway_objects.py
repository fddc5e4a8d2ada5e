"""Routes of the Gateway API: which of them carries an edge, and which of its rules.

In a mesh (GAMMA) a route's parent is the called Service: every rule of it carries the edge. At a Gateway the
backends say whom a rule calls. Sources: Gateway API, HTTPRoute and GRPCRoute references; GEP-1324 and GEP-1426
(producer and consumer routes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import Body, Kind, Ref, Snapshot
from governor.adapters.meshes.mesh import Place, Service, service_of
from governor.adapters.meshes.shares import service_key, service_names

GROUP = "gateway.networking.k8s.io"
HTTP_ROUTE = Kind(GROUP, "v1", "httproutes", "HTTPRoute")
GRPC_ROUTE = Kind(GROUP, "v1", "grpcroutes", "GRPCRoute")
GATEWAY = Kind(GROUP, "v1", "gateways", "Gateway")
GATEWAY_CLASS = Kind(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)

Key = tuple[str, str]
"""Name and namespace."""
Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Route:
    """A route, and its rules that carry one edge."""

    ref: Ref
    body: Body
    rules: tuple[tuple[int, Rule], ...]
    """With their positions in `spec.rules`, in order."""

    @property
    def all_rules(self) -> Sequence[Rule]:
        """Every rule of the route."""
        found: Sequence[Rule] = self.body["spec"].get("rules") or ()
        return found

    @property
    def leads_elsewhere(self) -> bool:
        """Whether some rules do not carry the edge."""
        return len(self.rules) < len(self.all_rules)


def backend_key(backend: Mapping[str, Any], namespace: str) -> Key:
    """Name and namespace of a backend, of any kind (an implementation's own as well)."""
    return str(backend["name"]), str(backend.get("namespace") or namespace)


def backend_names(backend: Mapping[str, Any], namespace: str) -> tuple[str, ...]:
    """All names that metrics may have for a backend."""
    name, namespace = backend_key(backend, namespace)
    return service_names(name, namespace)


def parents_of(ref: Ref, body: Body) -> Iterable[tuple[str, Key, str | None]]:
    """Each parent's kind, its name and namespace, and the section (listener) that is named."""
    for parent in body["spec"].get("parentRefs") or ():
        where = (str(parent["name"]), str(parent.get("namespace") or ref.namespace))
        yield str(parent.get("kind", "Gateway")), where, parent.get("sectionName")


def attached_to_service(route: Route) -> bool:
    """Whether the route is one of a mesh (GAMMA)."""
    return any(kind == "Service" for kind, _, _ in parents_of(route.ref, route.body))


def _keys(ref: Ref, body: Body) -> set[Key]:
    """What a route is found by: the Services it is attached to, and all backends."""
    found = {where for kind, where, _ in parents_of(ref, body) if kind == "Service"}
    for rule in body["spec"].get("rules") or ():
        found |= {backend_key(backend, ref.namespace) for backend in rule.get("backendRefs") or ()}
    return found


def _everywhere(route: Route) -> bool:
    del route
    return True


def route_of(
    snapshot: Snapshot,
    place: Place,
    kinds: Sequence[Kind] = ROUTES,
    *,
    mesh: bool = True,
    counts: Callable[[Route], bool] = _everywhere,
) -> Route | None:
    """The route that carries this edge, None if there is none; Inexpressible naming all if several do.

    A mesh's routes of the callee come before those of Gateways. Without `mesh` only the latter are looked at, and
    of those the ones for which `counts` is true.
    """
    found = _candidates(snapshot, place, kinds)
    routes = _of_mesh(found, place) if mesh else []
    if not routes:
        at_gateways = [route for route in _of_gateways(found, _wanted(place)) if counts(route)]
        routes = _at_its_gateway(at_gateways, place.caller)
    if len(routes) > 1:
        raise _which(routes, place)
    return routes[0] if routes else None


def gateway_routes_of(snapshot: Snapshot, place: Place, counts: Callable[[Route], bool]) -> list[Route]:
    """All routes of Gateways that carry this edge and for which `counts` is true, in order of their names.

    A rule carries the edge to its first backend whatever the others are: metrics are of rules there.
    Inexpressible naming all if they hang on different Gateways, none of the caller's name: some are others'.
    """
    callee = place.callee.key
    routes = _of_gateways(_candidates(snapshot, place, ROUTES), _wanted(place), callee)
    found = _at_its_gateway([route for route in routes if counts(route)], place.caller)
    gateways = {frozenset((kind, where) for kind, where, _ in parents_of(r.ref, r.body)) for r in found}
    if len(gateways) > 1 and not _gateway_is(found[0], place.caller):
        raise _which(found, place)
    return found


def _which(routes: Sequence[Route], place: Place) -> Inexpressible:
    names = " and ".join(str(route.ref) for route in routes)
    return Inexpressible(f"{names} both lead to {place.callee.host}, and which requests take which is not known")


def _wanted(place: Place) -> set[Key]:
    backends = {service_key(name, place.callee.namespace) for name in place.backends}
    return {place.callee.key, *backends}


def _candidates(snapshot: Snapshot, place: Place, kinds: Sequence[Kind]) -> list[Route]:
    keys = _wanted(place)
    refs = {ref for kind in kinds for key in keys for ref in snapshot.index(kind, _keys).get(key, ())}
    return [Route(ref, snapshot.objects[ref], ()) for ref in sorted(refs)]


def _at_its_gateway(routes: Iterable[Route], caller: str) -> list[Route]:
    """Routes on the Gateway of the caller's name where there are any, else all."""
    found = list(routes)
    return [route for route in found if _gateway_is(route, caller)] or found


def _of_mesh(found: Iterable[Route], place: Place) -> list[Route]:
    """Routes attached to the callee: the caller's own (consumer routes) come before the producer's."""
    callee = place.callee.key
    attached = [
        replace(route, rules=tuple((at, rule) for at, rule in enumerate(route.all_rules) if _backends(rule)))
        for route in found
        if ("Service", callee) in {(kind, where) for kind, where, _ in parents_of(route.ref, route.body)}
    ]
    caller = service_of(place.caller)
    own = [route for route in attached if caller is not None and route.ref.namespace == caller.namespace]
    holding = own or [route for route in attached if route.ref.namespace == place.callee.namespace]
    # Rules that only redirect or answer lead nowhere.
    return [route for route in holding if route.rules]


def _of_gateways(found: Iterable[Route], wanted: set[Key], first: Key | None = None) -> Iterable[Route]:
    for route in found:
        if attached_to_service(route):
            continue
        rules = tuple(
            (at, rule)
            for at, rule in enumerate(route.all_rules)
            if (keys := [backend_key(backend, route.ref.namespace) for backend in _backends(rule)])
            and (wanted.issuperset(keys) or keys[0] == first)
        )
        if rules:
            yield replace(route, rules=rules)


def _backends(rule: Rule) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = rule.get("backendRefs") or ()
    return found


def _gateway_is(route: Route, caller: str) -> bool:
    """Whether the route hangs on a Gateway of the caller's name."""
    name = caller.rpartition("/")[2].partition(".")[0]
    return any(where[0] == name for _, where, _ in parents_of(route.ref, route.body))


def services_behind(route: Route | None, callee: Service) -> tuple[Key, ...]:
    """The Services that an edge's requests end at: the backends of its rules, or the callee without a route."""
    if route is None:
        return (callee.key,)
    found = {
        backend_key(backend, route.ref.namespace): None
        for _, rule in route.rules
        for backend in _backends(rule)
        if backend.get("kind", "Service") == "Service"
    }
    return tuple(found)
