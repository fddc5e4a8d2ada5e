"""Envoy Gateway: BackendTrafficPolicies of the routes at its Gateways, and the routes' own weights and timeouts.

Which file has which knob: `gateway_routes` weights, and attempts and timeouts where the route has some, which
come before any policy's; `envoy_gateway_leaves` all leaves of policies; `envoy_gateway_limits` rate limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Kind, Snapshot
from governor.adapters.meshes import envoy_gateway_leaves as leaves
from governor.adapters.meshes import envoy_gateway_limits as limits
from governor.adapters.meshes import gateway_routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.envoy_gateway_policies import POLICY, Site, policy_changes, site_of
from governor.adapters.meshes.gateway_objects import GATEWAY, GATEWAY_CLASS, GRPC_ROUTE, HTTP_ROUTE
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_envoy_gateway import violations
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


@dataclass(frozen=True)
class EnvoyGateway:
    """Envoy Gateway 1.4 and newer; retry budgets since 1.8."""

    name: str = "envoy-gateway"
    kinds: tuple[Kind, ...] = (POLICY, HTTP_ROUTE, GRPC_ROUTE, GATEWAY, GATEWAY_CLASS)
    confirming: frozenset[Kind] = frozenset({POLICY, HTTP_ROUTE, GRPC_ROUTE})

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the route and its policies say; nothing where several might apply, which a write would name."""
        try:
            site = site_of(snapshot, place)
        except Inexpressible:
            return {}
        if site is None:
            return {}
        limit = limits.limit_in(site, place)
        found: dict[Knob, KnobValue | None] = {
            Knob.WEIGHTS: gateway_routes.weights_in(site.route, place.backends),
            Knob.TIMEOUT: _timeout(site),
            Knob.RETRIES: _retries(site),
            Knob.IN_FLIGHT_CAP: leaves.cap_in(site, place.caller_proxies),
            Knob.CONNECTION_LIMITS: leaves.limits_in(site, place.caller_proxies),
            Knob.OUTLIER_DETECTION: leaves.outlier_in(site),
            Knob.RATE_LIMIT: None if limit is None else RateLimit(limit),
        }
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        site = site_of(snapshot, place)
        if site is None:
            raise Inexpressible(
                f"no HTTPRoute or GRPCRoute leads from a Gateway of Envoy Gateway to {place.callee.host}: "
                "write one"
            )
        return checked(_changes(snapshot, site, place, value), snapshot, violations)


def _changes(snapshot: Snapshot, site: Site, place: Place, value: KnobValue) -> Sequence[AnyChange]:
    match value:
        case BackendWeights():
            return gateway_routes.weight_changes(site.route, value)
        case Timeout() if _in_route(site, "retry", "timeouts"):
            return gateway_routes.timeout_changes(site.route, value)
        case RetryPolicy(attempts) if _in_route(site, "retry"):
            made: list[AnyChange] = [*gateway_routes.attempts_changes(snapshot, site.route, attempts)]
            return [*made, *policy_changes(site, leaves.budget_edits(site, value))]
        case Timeout():
            edits = leaves.timeout_edits(site, value)
        case RetryPolicy():
            edits = [*leaves.attempts_edits(site, value), *leaves.budget_edits(site, value)]
        case InFlightCap():
            edits = leaves.cap_edits(site, value, place.caller_proxies)
        case ConnectionLimits():
            edits = leaves.limit_edits(site, value, place.caller_proxies)
        case OutlierDetection():
            edits = leaves.outlier_edits(site, value)
        case RateLimit(rate):
            edits = limits.limit_edits(site, place, rate)
    return policy_changes(site, edits)


def _in_route(site: Site, *keys: str) -> bool:
    """Whether the route itself says it, which comes before any policy."""
    return any(key in rule for _, rule in site.route.rules for key in keys)


def _timeout(site: Site) -> Timeout | None:
    ours, theirs = gateway_routes.timeout_in(site.route) or Timeout(None, None), leaves.timeout_in(site)
    request = theirs.request_s if ours.request_s is None else ours.request_s
    per_try = ours.per_try_s if _in_route(site, "retry", "timeouts") else theirs.per_try_s
    return None if request is None and per_try is None else Timeout(request, per_try)


def _retries(site: Site) -> RetryPolicy | None:
    by_route = _in_route(site, "retry")
    attempts = gateway_routes.attempts_in(site.route) if by_route else leaves.attempts_in(site)
    budget = leaves.budget_in(site)
    return None if attempts is None and budget is None else RetryPolicy(attempts, budget)


MESH = EnvoyGateway()
