"""Istio with sidecars and gateways: VirtualService, DestinationRule and EnvoyFilter.

Which file has which knob: `istio_routes` weights, attempts and timeouts, `istio_endpoints` weights of workloads
that are no pods; `istio_destination` caps, limits, outlier detection and the retry budget; `istio_filters` rate
limits and caps for priority HIGH. What passes waypoints is `istio_ambient`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Body, Kind, Ref, Snapshot
from governor.adapters.meshes import istio_destination as rule
from governor.adapters.meshes import istio_filters as filters
from governor.adapters.meshes import istio_routes as routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.gateway_objects import GRPC_ROUTE, HTTP_ROUTE
from governor.adapters.meshes.istio_callers import GATEWAY, SERVICE_ENTRY
from governor.adapters.meshes.istio_modes import is_ambient, of_ambient
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, ENVOY_FILTER, VIRTUAL_SERVICE, concerns
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_istio import violations
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
class Istio:
    """Istio 1.27 and newer, sidecars and gateways."""

    name: str = "istio"
    kinds: tuple[Kind, ...] = (
        VIRTUAL_SERVICE,
        DESTINATION_RULE,
        ENVOY_FILTER,
        GATEWAY,
        SERVICE_ENTRY,
        HTTP_ROUTE,
        GRPC_ROUTE,
    )
    confirming: frozenset[Kind] = frozenset()
    """None: Istio's objects have no useful status; metrics judge."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the objects say; nothing of a host for which several might apply, which a write would name."""
        if of_ambient(snapshot, place):
            return {}
        found: dict[Knob, KnobValue | None] = {}
        counting = routes.counting(snapshot, place)
        high = filters.high_cap_in(snapshot, counting)
        with suppress(Inexpressible):
            found |= rule.settings(snapshot, counting, high)
        with suppress(Inexpressible):
            found |= routes.settings(snapshot, place, found.get(Knob.RETRIES))
        limit = filters.limit_in(snapshot, place)
        if limit is not None:
            found[Knob.RATE_LIMIT] = RateLimit(limit)
        return {knob: value for knob, value in found.items() if value is not None}

    def concerns(self, ref: Ref, body: Body) -> Iterable[tuple[str, str]] | None:
        """See `kubernetes_state.SaysWhom`."""
        return concerns(ref, body)

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        if of_ambient(snapshot, place):
            raise Inexpressible(f"{place.callee.host} is in ambient mode: it has no sidecars")
        return checked(_changes(snapshot, place, value), snapshot, violations)


def _changes(snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
    match value:
        case BackendWeights():
            made = routes.weight_changes(snapshot, place, value)
        case Timeout():
            made = routes.timeout_changes(snapshot, place, value)
        case RetryPolicy(attempts, budget):
            made = rule.budget_changes(snapshot, place, budget)
            made += routes.attempts_changes(snapshot, place, attempts)
        case RateLimit(rate):
            if is_ambient(snapshot, place.callee):
                raise Inexpressible(f"the pods of {place.callee.host} have no sidecars that could count requests")
            made = filters.limit_changes(snapshot, place, rate)
        case InFlightCap():
            counting = routes.counting(snapshot, place)
            made = rule.policy_changes(snapshot, counting, value)
            made += filters.high_cap_changes(snapshot, counting, value.high)
        case ConnectionLimits():
            made = rule.policy_changes(snapshot, routes.counting(snapshot, place), value)
        case OutlierDetection():
            made = rule.policy_changes(snapshot, place, value)
    return made


MESH = Istio()
