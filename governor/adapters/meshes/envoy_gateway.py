"""Envoy Gateway: BackendTrafficPolicies of the routes at its Gateways, and the routes' own weights and timeouts.

Which file has which knob: `gateway_routes` weights, and attempts and timeouts where the route has some, which
come before any policy's; `envoy_gateway_leaves` all leaves of policies, `envoy_gateway_classes` which cap
is whose; `envoy_gateway_limits` rate limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        site = sites[-1]
        limited = limits.sites_for(sites, place)
        limit = limits.limit_in(limited[0], place) if len(limited) == 1 else None
        found: dict[Knob, KnobValue | None] = {
            Knob.WEIGHTS: _weights(sites, place.backends),
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
        return checked(list(_changes(snapshot, sites, place, value)), snapshot, violations)


def _changes(snapshot: Snapshot, sites: Sequence[Site], place: Place, value: KnobValue) -> Iterable[AnyChange]:
    if isinstance(value, BackendWeights):
        routes = [route for route, _ in _by_route(sites)]
        for route in [route for route in routes if gateway_routes.splits(route)] or routes:
            yield from gateway_routes.weight_changes(route, value)
        return
    for route, own in _by_route(sites):
        match value:
            case Timeout() if _in_route(route, "retry", "timeouts"):
                yield from gateway_routes.timeout_changes(route, value)
            case RetryPolicy() if _in_route(route, "retry"):
                yield from gateway_routes.attempts_changes(snapshot, route, value.attempts)
                for site in own:
                    yield from policy_changes(site, leaves.budget_edits(site, value))
            case _:
                for site in own:
                    yield from policy_changes(site, _edits(site, sites, place, value))


def _edits(site: Site, sites: Sequence[Site], place: Place, value: KnobValue) -> list[Edit]:
    """The edits of one site's policy; limits of the whole edge, or of one API, are for one of its sites alone."""
    match value:
        case Timeout():
            return leaves.timeout_edits(site, value)
        case RetryPolicy():
            return leaves.retry_edits(site, value)
        case OutlierDetection():
            return leaves.outlier_edits(site, value)
        case InFlightCap():
            return leaves.cap_edits(site, classes.caps_of(sites, value)[site], place.caller_proxies)
        case ConnectionLimits():
            return leaves.limit_edits(classes.only(sites), value, place.caller_proxies)
        case RateLimit(rate):
            limited = classes.only(limits.sites_for(sites, place))
            return limits.limit_edits(site, place, rate) if site is limited else []
        case BackendWeights():
            raise AssertionError("weights stand in routes")


def _by_route(sites: Sequence[Site]) -> list[tuple[Route, list[Site]]]:
    """Each route with the rules of all its sites, and these."""
    own: dict[Ref, list[Site]] = {}
    for site in sites:
        own.setdefault(site.route.ref, []).append(site)
    return [(_whole(found), found) for found in own.values()]


def _whole(sites: Sequence[Site]) -> Route:
    """The one route of some sites."""
    return replace(sites[0].route, rules=tuple(sorted((p for s in sites for p in s.route.rules), key=_position)))


def _position(rule: tuple[int, Rule]) -> int:
    return rule[0]


def _weights(sites: Sequence[Site], backends: tuple[str, ...]) -> BackendWeights | None:
    """Those of the last route that splits."""
    found = [gateway_routes.weights_in(route, backends) for route, _ in _by_route(sites)]
    return next((weights for weights in reversed(found) if weights is not None), None)


def _in_route(route: Route, *keys: str) -> bool:
    """Whether the route itself says it, which comes before any policy."""
    return any(key in rule for _, rule in route.rules for key in keys)


def _timeout(site: Site) -> Timeout | None:
    ours, theirs = gateway_routes.timeout_in(site.route) or Timeout(None, None), leaves.timeout_in(site)
    request = theirs.request_s if ours.request_s is None else ours.request_s
    per_try = ours.per_try_s if _in_route(site.route, "retry", "timeouts") else theirs.per_try_s
    return None if request is None and per_try is None else Timeout(request, per_try)


def _retries(site: Site) -> RetryPolicy | None:
    by_route = _in_route(site.route, "retry")
    attempts = gateway_routes.attempts_in(site.route) if by_route else leaves.attempts_in(site)
    budget = leaves.budget_in(site)
    return None if attempts is None and budget is None else RetryPolicy(attempts, budget)


MESH = EnvoyGateway()
