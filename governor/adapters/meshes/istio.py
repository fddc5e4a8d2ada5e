"""Istio with sidecars and gateways: VirtualService, DestinationRule and EnvoyFilter.

Which file has which knob: `istio_routes` weights, attempts and timeouts; `istio_destination` caps, limits,
outlier detection and the retry budget; `istio_filters` rate limits and caps for priority HIGH.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Kind, Snapshot
from governor.adapters.meshes import istio_destination as rule
from governor.adapters.meshes import istio_filters as filters
from governor.adapters.meshes import istio_routes as routes
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.istio_callers import GATEWAY
from governor.adapters.meshes.istio_objects import (
    DESTINATION_RULE,
    ENVOY_FILTER,
    VIRTUAL_SERVICE,
    destination_rule,
)
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
    kinds: tuple[Kind, ...] = (VIRTUAL_SERVICE, DESTINATION_RULE, ENVOY_FILTER, GATEWAY)
    confirming: frozenset[Kind] = frozenset()
    """None: Istio's objects have no useful status; metrics judge."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the objects say; nothing of a host for which several might apply, which a write would name."""
        found: dict[Knob, KnobValue | None] = {}
        with suppress(Inexpressible):
            found |= _of_rule(snapshot, place)
        with suppress(Inexpressible):
            found |= _of_routes(snapshot, place, found.get(Knob.RETRIES))
        limit = filters.limit_in(snapshot, place)
        if limit is not None:
            found[Knob.RATE_LIMIT] = RateLimit(limit)
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        return checked(self._changes(snapshot, place, value), snapshot, violations)

    def _changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        match value:
            case BackendWeights():
                return routes.weight_changes(snapshot, place, value)
            case Timeout():
                return routes.timeout_changes(snapshot, place, value)
            case RateLimit(rate):
                return filters.limit_changes(snapshot, place, rate)
            case RetryPolicy(attempts, budget):
                leaves: rule.LeavesOver = partial(rule.budget_leaves, budget)
                more = routes.attempts_changes(snapshot, place, attempts)
            case InFlightCap():
                leaves = _whatever(rule.cap_leaves(value, place.caller_proxies))
                more = filters.high_cap_changes(snapshot, place, value.high)
            case ConnectionLimits():
                leaves, more = _whatever(rule.limit_leaves(value, place.caller_proxies)), []
            case OutlierDetection():
                leaves, more = partial(rule.outlier_leaves, value), []
        return [*rule.rule_changes(snapshot, place, leaves), *more]


def _whatever(leaves: rule.Leaves) -> rule.LeavesOver:
    """Leaves that do not depend on what is there."""
    return lambda _: leaves


def _of_rule(snapshot: Snapshot, place: Place) -> dict[Knob, KnobValue | None]:
    found = destination_rule(snapshot, place)
    policy = rule.policy_of(found[1] if found else None)
    budget = rule.budget_in(policy)
    cap = InFlightCap(rule.cap_in(policy, place.caller_proxies), filters.high_cap_in(snapshot, place))
    limits = rule.limits_in(policy, place.caller_proxies)
    return {
        Knob.RETRIES: None if budget is None else RetryPolicy(None, budget),
        Knob.IN_FLIGHT_CAP: None if cap == InFlightCap(None, None) else cap,
        Knob.CONNECTION_LIMITS: None if limits == ConnectionLimits(None, None) else limits,
        Knob.OUTLIER_DETECTION: rule.outlier_in(policy),
    }


def _of_routes(snapshot: Snapshot, place: Place, budget: KnobValue | None) -> dict[Knob, KnobValue | None]:
    found, entries = routes.routes_of(snapshot, place)
    attempts = routes.attempts_in(entries)
    share = budget.budget if isinstance(budget, RetryPolicy) else None
    retries = None if attempts is None and share is None else RetryPolicy(attempts, share)
    return {
        Knob.RETRIES: retries,
        Knob.TIMEOUT: routes.timeout_in(entries),
        Knob.WEIGHTS: routes.weights_in(found, entries, place.backends),
    }


MESH = Istio()
