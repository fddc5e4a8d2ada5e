"""Envoy Gateway: BackendTrafficPolicies of the routes at its Gateways, and the routes' own weights and timeouts.

Which file has which knob: `gateway_routes` weights, and attempts and timeouts where the route has some, which
come before any policy's; `envoy_gateway_leaves` all leaves of policies, `envoy_gateway_classes` which cap
is whose; `envoy_gateway_limits` rate limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange, Edit
from governor.adapters.kubernetes_objects import Kind, Ref, Snapshot
from governor.adapters.meshes import envoy_gateway_classes as classes
from governor.adapters.meshes import envoy_gateway_leaves as leaves
from governor.adapters.meshes import envoy_gateway_limits as limits
from governor.adapters.meshes import gateway_routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.envoy_gateway_policies import POLICY, Site, policy_changes, sites_of
from governor.adapters.meshes.gateway_objects import GATEWAY, GATEWAY_CLASS, GRPC_ROUTE, HTTP_ROUTE, Route, Rule
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
            sites = sites_of(snapshot, place)
        except Inexpressible:
            return {}
        if not sites:
            return {}
        site, routes = sites[-1], _routes(sites)
        split = [route for route in routes if gateway_routes.splits(route)] or routes
        limited = classes.of_api(sites, place)
        limit = limits.limit_in(limited[0], place) if len(limited) == 1 else None
        found: dict[Knob, KnobValue | None] = {
            Knob.WEIGHTS: gateway_routes.weights_in(split[-1], place.backends),
            Knob.TIMEOUT: _timeout(site),
            Knob.RETRIES: _retries(site),
            Knob.IN_FLIGHT_CAP: classes.caps_in(sites, place.caller_proxies),
            Knob.CONNECTION_LIMITS: leaves.limits_in(site, place.caller_proxies),
            Knob.OUTLIER_DETECTION: leaves.outlier_in(site),
            Knob.RATE_LIMIT: None if limit is None else RateLimit(limit),
        }
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        sites = sites_of(snapshot, place)
        if not sites:
            raise Inexpressible(
                f"no HTTPRoute or GRPCRoute leads from a Gateway of Envoy Gateway to {place.callee.host}: "
                "write one"
            )
        return checked(_changes(snapshot, sites, place, value), snapshot, violations)


def _changes(snapshot: Snapshot, sites: Sequence[Site], place: Place, value: KnobValue) -> Sequence[AnyChange]:
    routes = _routes(sites)
    if isinstance(value, BackendWeights):
        split = [route for route in routes if gateway_routes.splits(route)] or routes
        return [change for route in split for change in gateway_routes.weight_changes(route, value)]
    if isinstance(value, Timeout) and _in_routes(sites, "retry", "timeouts"):
        return [change for route in routes for change in gateway_routes.timeout_changes(route, value)]
    made: list[AnyChange] = []
    if isinstance(value, RetryPolicy) and _in_routes(sites, "retry"):
        for route in routes:
            made += gateway_routes.attempts_changes(snapshot, route, value.attempts)
    for site, edits in _edits(sites, place, value):
        made += policy_changes(site, edits)
    return made


def _edits(sites: Sequence[Site], place: Place, value: KnobValue) -> list[tuple[Site, list[Edit]]]:
    """The edits of each site's policy."""
    match value:
        case RateLimit(rate):
            of_api = classes.only(classes.of_api(sites, place))
            apart = of_api.route.ref.name == place.api
            return [(of_api, limits.limit_edits(of_api, place, rate, apart=apart))]
        case ConnectionLimits():
            only = classes.only(sites)
            return [(only, leaves.limit_edits(only, value, place.caller_proxies))]
        case InFlightCap():
            return classes.cap_edits(sites, value, place.caller_proxies)
    return [(site, _alike(site, value, routed=_in_routes(sites, "retry"))) for site in sites]


def _alike(site: Site, value: KnobValue, *, routed: bool) -> list[Edit]:
    """Edits that are the same at every site; `routed`: the routes say themselves how often they retry."""
    match value:
        case Timeout():
            return leaves.timeout_edits(site, value)
        case RetryPolicy():
            return leaves.budget_edits(site, value) if routed else leaves.retry_edits(site, value)
        case OutlierDetection():
            return leaves.outlier_edits(site, value)
    raise AssertionError(f"{type(value).__name__} is not said alike at every site")


def _routes(sites: Sequence[Site]) -> list[Route]:
    """Each route once, with the rules of all its sites."""
    rules: dict[Ref, list[tuple[int, Rule]]] = {}
    for site in sites:
        rules.setdefault(site.route.ref, []).extend(site.route.rules)
    routes = {site.route.ref: site.route for site in sites}
    return [replace(routes[ref], rules=tuple(sorted(found, key=_position))) for ref, found in rules.items()]


def _position(rule: tuple[int, object]) -> int:
    return rule[0]


def _in_routes(sites: Sequence[Site], *keys: str) -> bool:
    """Whether a route itself says it, which comes before any policy."""
    return any(key in rule for site in sites for _, rule in site.route.rules for key in keys)


def _timeout(site: Site) -> Timeout | None:
    ours, theirs = gateway_routes.timeout_in(site.route) or Timeout(None, None), leaves.timeout_in(site)
    request = theirs.request_s if ours.request_s is None else ours.request_s
    per_try = ours.per_try_s if _in_routes([site], "retry", "timeouts") else theirs.per_try_s
    return None if request is None and per_try is None else Timeout(request, per_try)


def _retries(site: Site) -> RetryPolicy | None:
    by_route = _in_routes([site], "retry")
    attempts = gateway_routes.attempts_in(site.route) if by_route else leaves.attempts_in(site)
    budget = leaves.budget_in(site)
    return None if attempts is None and budget is None else RetryPolicy(attempts, budget)


MESH = EnvoyGateway()
