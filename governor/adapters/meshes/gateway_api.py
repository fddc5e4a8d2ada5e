"""The Gateway API alone, whoever implements it: HTTPRoute, GRPCRoute, XBackendTrafficPolicy.

Which file has which knob: `gateway_routes` weights, attempts and timeouts; `gateway_budget` the retry budget.
All else the Gateway API leaves to its implementations' own policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Kind, Snapshot
from governor.adapters.meshes import gateway_budget, gateway_routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.gateway_objects import GRPC_ROUTE, HTTP_ROUTE, Route, route_of, services_behind
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

REASONS: Mapping[type[KnobValue], str] = {
    RateLimit: "the Gateway API has no rate limits: implementations have policies of their own",
    InFlightCap: "the Gateway API has no limit of requests in flight: implementations have policies of their own",
    OutlierDetection: "the Gateway API has no outlier detection: implementations have policies of their own",
    ConnectionLimits: "the Gateway API has no connection limits: implementations have policies of their own",
}


@dataclass(frozen=True)
class GatewayApi:
    """Gateway API 1.2 and newer, at Gateways and in meshes (GAMMA)."""

    name: str = "gateway-api"
    kinds: tuple[Kind, ...] = (HTTP_ROUTE, GRPC_ROUTE, gateway_budget.POLICY)
    confirming: frozenset[Kind] = frozenset({HTTP_ROUTE, GRPC_ROUTE})

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the edge's route and the policy of its Services say; nothing where several routes might apply."""
        try:
            route = route_of(snapshot, place)
        except Inexpressible:
            return {}
        budget = None
        with suppress(Inexpressible):
            budget = gateway_budget.budget_in(snapshot, services_behind(route, place.callee))
        attempts = None if route is None else gateway_routes.attempts_in(route)
        found: dict[Knob, KnobValue | None] = {
            Knob.RETRIES: None if attempts is None and budget is None else RetryPolicy(attempts, budget)
        }
        if route is not None:
            found[Knob.TIMEOUT] = gateway_routes.timeout_in(route)
            found[Knob.WEIGHTS] = gateway_routes.weights_in(route, place.backends)
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        match value:
            case BackendWeights():
                made: Sequence[AnyChange] = gateway_routes.weight_changes(_route(snapshot, place), value)
            case Timeout():
                made = gateway_routes.timeout_changes(_route(snapshot, place), value)
            case RetryPolicy():
                made = _retries(snapshot, place, value)
            case _:
                raise Inexpressible(REASONS[type(value)])
        return checked(made, snapshot, violations)


def _route(snapshot: Snapshot, place: Place) -> Route:
    route = route_of(snapshot, place)
    if route is None:
        raise Inexpressible(
            f"no HTTPRoute or GRPCRoute leads to {place.callee.host}: write one, attached to that Service in a "
            "mesh or to a Gateway"
        )
    return route


def _retries(snapshot: Snapshot, place: Place, value: RetryPolicy) -> list[AnyChange]:
    made: list[AnyChange] = []
    route = route_of(snapshot, place)
    if value.attempts is not None:
        route = _route(snapshot, place)
    if route is not None:
        made += gateway_routes.attempts_changes(snapshot, route, value.attempts)
    behind = services_behind(route, place.callee)
    return [*made, *gateway_budget.budget_changes(snapshot, place.callee, behind, value.budget)]


MESH = GatewayApi()
