"""Cilium: routes of the Gateway API, and for what they have no fields, a CiliumEnvoyConfig of the governor's own.

Which file has which knob: `gateway_routes` weights, timeouts, and retries where a route carries the edge;
`cilium_envoy_config` retries where none does, caps, limits and outlier detection. Of routes attached to Services
only those of the Service's own namespace hold (producer routes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Kind, Snapshot
from governor.adapters.meshes import cilium_envoy_config as envoy
from governor.adapters.meshes import gateway_routes as routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.gateway_objects import ROUTES, Route, attached_to_service, route_of
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_gateway_api import violations
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

_NO_LIMIT = "whether Cilium's Envoy was built with a filter for rate limits is not known"


@dataclass(frozen=True)
class Cilium:
    """Cilium 1.18 and newer, with its Gateway API and `envoyConfig.enabled`."""

    name: str = "cilium"
    kinds: tuple[Kind, ...] = (envoy.ENVOY_CONFIG, envoy.CLUSTER_CONFIG, *ROUTES)
    confirming: frozenset[Kind] = frozenset(ROUTES)
    """A CiliumEnvoyConfig has no status; metrics judge."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the edge's route and the governor's own config say; configs of others are not read."""
        found: dict[Knob, KnobValue | None] = {}
        body = envoy.config_of(snapshot, place)
        if body is not None:
            found = {Knob.RETRIES: envoy.retries_in(body), Knob.OUTLIER_DETECTION: envoy.outlier_in(body)}
            with suppress(Inexpressible):
                nodes = envoy.nodes_of(snapshot, place)
                found[Knob.IN_FLIGHT_CAP] = envoy.cap_in(body, nodes)
                found[Knob.CONNECTION_LIMITS] = envoy.limits_in(body, nodes)
        with suppress(Inexpressible):
            found |= _of_route(_route(snapshot, place), place)
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        if isinstance(value, RateLimit):
            raise Inexpressible(_NO_LIMIT)
        route = _route(snapshot, place)
        if isinstance(value, BackendWeights | Timeout) or (isinstance(value, RetryPolicy) and route is not None):
            return checked(_route_changes(snapshot, place, route, value), snapshot, violations)
        if route is not None and attached_to_service(route):
            raise Inexpressible(
                f"Cilium makes a CiliumEnvoyConfig of {route.ref}, and two configs of one service have no "
                "defined order"
            )
        return envoy.config_changes(snapshot, place, *_leaves(snapshot, place, value))


def _route(snapshot: Snapshot, place: Place) -> Route | None:
    """The producer's route of the edge, else that of the Gateway which the caller is."""
    inside = route_of(snapshot, replace(place, caller=place.callee.host), counts=lambda _: False)
    return inside or route_of(snapshot, place, mesh=False)


def _of_route(route: Route | None, place: Place) -> Mapping[Knob, KnobValue | None]:
    if route is None:
        return {}
    attempts = routes.attempts_in(route)
    said = {} if attempts is None else {Knob.RETRIES: RetryPolicy(attempts, None)}
    return {
        **said,
        Knob.WEIGHTS: routes.weights_in(route, place.backends),
        Knob.TIMEOUT: routes.timeout_in(route),
    }


def _route_changes(
    snapshot: Snapshot, place: Place, route: Route | None, value: BackendWeights | Timeout | RetryPolicy
) -> Sequence[AnyChange]:
    if route is None:
        raise Inexpressible(
            f"no HTTPRoute or GRPCRoute of namespace {place.callee.namespace} leads to {place.callee.name}: "
            "write one, attached to that Service or to a Gateway"
        )
    match value:
        case BackendWeights():
            return routes.weight_changes(route, value)
        case Timeout():
            return routes.timeout_changes(route, value)
        case RetryPolicy(attempts, budget):
            if budget is not None:
                raise Inexpressible(f"{route.ref} has no retry budget, and Cilium reads none beside it")
            return routes.attempts_changes(snapshot, route, attempts)


def _leaves(snapshot: Snapshot, place: Place, value: KnobValue) -> tuple[Knob, envoy.Leaves]:
    match value:
        case RetryPolicy():
            return Knob.RETRIES, envoy.retry_leaves(value)
        case OutlierDetection():
            return Knob.OUTLIER_DETECTION, envoy.outlier_leaves(value)
        case InFlightCap():
            return Knob.IN_FLIGHT_CAP, envoy.cap_leaves(value, envoy.nodes_of(snapshot, place))
        case _:
            assert isinstance(value, ConnectionLimits)
            return Knob.CONNECTION_LIMITS, envoy.limit_leaves(value, envoy.nodes_of(snapshot, place))


MESH = Cilium()
