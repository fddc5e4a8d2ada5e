"""Istio in ambient mode, through waypoints: routes, and the traffic policies of DestinationRules.

Routes are the Gateway API's where the user has attached some to the service, VirtualServices (Alpha there)
otherwise, never both. Waypoints ignore EnvoyFilters silently. Source: Istio, "Use layer 7 features".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Body, Kind, Ref, Snapshot
from governor.adapters.meshes import gateway_routes
from governor.adapters.meshes import istio_destination as rule
from governor.adapters.meshes import istio_routes as routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.gateway_objects import GATEWAY, GRPC_ROUTE, HTTP_ROUTE, Route, services_behind
from governor.adapters.meshes.istio_callers import GATEWAY as ISTIO_GATEWAY
from governor.adapters.meshes.istio_modes import of_ambient, proxies_of_waypoint, waypoint_of
from governor.adapters.meshes.istio_objects import (
    DESTINATION_RULE,
    VIRTUAL_SERVICE,
    attached_route,
    virtual_service,
)
from governor.adapters.meshes.mesh import Place, Service
from governor.adapters.meshes.rules_gateway_api import violations as gateway_violations
from governor.adapters.meshes.rules_istio import violations as istio_violations
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
)

NO_FILTERS = "waypoints ignore EnvoyFilters silently"


@dataclass(frozen=True)
class IstioAmbient:
    """Istio 1.27 and newer, services with a waypoint."""

    name: str = "istio-ambient"
    kinds: tuple[Kind, ...] = (
        VIRTUAL_SERVICE,
        DESTINATION_RULE,
        ISTIO_GATEWAY,
        HTTP_ROUTE,
        GRPC_ROUTE,
        GATEWAY,
    )
    confirming: frozenset[Kind] = frozenset({HTTP_ROUTE, GRPC_ROUTE})

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the objects say; nothing without a waypoint, or of a host for which several might apply."""
        if not of_ambient(snapshot, place) or waypoint_of(snapshot, place.callee) is None:
            return {}
        at = _at_waypoint(snapshot, place)
        found: dict[Knob, KnobValue | None] = {}
        with suppress(Inexpressible):
            found |= _of_rules(snapshot, at)
        with suppress(Inexpressible):
            found |= _of_routes(snapshot, at, found.get(Knob.RETRIES))
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        if not of_ambient(snapshot, place):
            raise Inexpressible(f"requests from {place.caller} to {place.callee.host} pass no waypoint")
        at = _at_waypoint(snapshot, place)
        return checked(_changes(snapshot, at, value), snapshot, _violations)


def _changes(snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
    match value:
        case RateLimit():
            raise Inexpressible(f"Istio has no rate limit of its own, and {NO_FILTERS}")
        case InFlightCap() if value.high is not None:
            raise Inexpressible(f"a cap of priority HIGH takes an EnvoyFilter, and {NO_FILTERS}")
        case InFlightCap() | ConnectionLimits():
            return rule.policy_changes(snapshot, _only(_behind(snapshot, place), place), value)
        case OutlierDetection():
            return [c for at in _behind(snapshot, place) for c in rule.policy_changes(snapshot, at, value)]
        case RetryPolicy():
            made = [c for at in _behind(snapshot, place) for c in rule.budget_changes(snapshot, at, value.budget)]
            return [*_route_changes(snapshot, place, value), *made]
        case BackendWeights() | Timeout():
            return _route_changes(snapshot, place, value)


def _route_changes(
    snapshot: Snapshot, place: Place, value: BackendWeights | Timeout | RetryPolicy
) -> Sequence[AnyChange]:
    """In the attached route where there is one, in a VirtualService otherwise."""
    route = _route(snapshot, place)
    match value:
        case BackendWeights() if route is not None:
            return gateway_routes.weight_changes(route, value)
        case BackendWeights():
            return routes.weight_changes(snapshot, place, value)
        case Timeout() if route is not None:
            _refuse_time_of_a_try(route, value)
            return gateway_routes.timeout_changes(route, value)
        case Timeout():
            return routes.timeout_changes(snapshot, place, value)
        case RetryPolicy(attempts) if route is not None:
            return gateway_routes.attempts_changes(snapshot, route, attempts)
    return routes.attempts_changes(snapshot, place, value.attempts)


def _behind(snapshot: Snapshot, place: Place) -> list[Place]:
    """Where requests end: at the backends of an attached route, whose own DestinationRules hold for them."""
    callee, host = place.callee, place.callee.host
    domain = host.removeprefix(f"{callee.name}.{callee.namespace}.")
    keys = services_behind(attached_route(snapshot, place), callee)
    return [replace(place, callee=Service(n, where, f"{n}.{where}.{domain}")) for n, where in keys]


def _only(behind: Sequence[Place], place: Place) -> Place:
    if len(behind) != 1:
        names = ", ".join(at.callee.host for at in behind)
        raise Inexpressible(
            f"requests for {place.callee.host} end at {names}, and a limit of all together cannot be said: set "
            "one for each of them"
        )
    return behind[0]


def _refuse_time_of_a_try(route: Route, value: Timeout) -> None:
    if value.per_try_s is not None and not all(rule.get("retry") for _, rule in route.rules):
        raise Inexpressible(
            f"{route.ref} has rules without `retry`, where Istio takes backendRequest for the time of the whole "
            "request: set attempts first"
        )


def _route(snapshot: Snapshot, place: Place) -> Route | None:
    """The attached route of the Gateway API, None where VirtualServices are used; Inexpressible for both."""
    route = attached_route(snapshot, place)
    if route is not None and (found := virtual_service(snapshot, place)) is not None:
        raise Inexpressible(
            f"{route.ref} and {found[0]} both route to {place.callee.host}, which is undefined in ambient mode: "
            "keep one of them"
        )
    return route


def _of_rules(snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue | None]:
    """What the rules of all backends say alike; limits only where there is one."""
    said = [rule.settings(snapshot, at) for at in _behind(snapshot, place)]
    alike = {knob: value for knob, value in said[0].items() if all(other[knob] == value for other in said)}
    each = {Knob.IN_FLIGHT_CAP, Knob.CONNECTION_LIMITS} if len(said) > 1 else set()
    return {knob: value for knob, value in alike.items() if knob not in each}


def _of_routes(snapshot: Snapshot, place: Place, budget: KnobValue | None) -> Mapping[Knob, KnobValue | None]:
    route = _route(snapshot, place)
    if route is None:
        return routes.settings(snapshot, place, budget)
    attempts = gateway_routes.attempts_in(route)
    share = budget.budget if isinstance(budget, RetryPolicy) else None
    return {
        Knob.RETRIES: None if attempts is None and share is None else RetryPolicy(attempts, share),
        Knob.TIMEOUT: gateway_routes.timeout_in(route),
        Knob.WEIGHTS: gateway_routes.weights_in(route, place.backends),
    }


def _at_waypoint(snapshot: Snapshot, place: Place) -> Place:
    """The place as the waypoint sees it: its proxies are those that count."""
    waypoint: Ref | None = waypoint_of(snapshot, place.callee)
    if waypoint is None:
        raise Inexpressible(
            f"{place.callee.host} is in ambient mode without a waypoint, where Istio knows connections only, no "
            "requests: label it istio.io/use-waypoint"
        )
    return replace(place, caller_proxies=proxies_of_waypoint(snapshot, waypoint))


def _violations(kind: Kind, body: Body) -> list[str]:
    return [*istio_violations(kind, body), *gateway_violations(kind, body)]


MESH = IstioAmbient()
