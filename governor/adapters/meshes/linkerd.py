"""Linkerd: annotations of Services and routes, HTTPLocalRateLimitPolicies, weights of routes.

Which file has which knob: `linkerd_annotations` retries, timeouts and circuit breaking; `linkerd_limits` rate
limits; `linkerd_profiles` what an older ServiceProfile says; `gateway_routes` weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Found, Kind, Snapshot
from governor.adapters.meshes import linkerd_annotations as noted
from governor.adapters.meshes import linkerd_limits as limits
from governor.adapters.meshes import linkerd_profiles as profiles
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.gateway_objects import Route, route_of
from governor.adapters.meshes.gateway_routes import weight_changes, weights_in
from governor.adapters.meshes.linkerd_objects import LIMIT_POLICY, ROUTES, SERVER, SERVICE_PROFILE, profile
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_linkerd import violations
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

Value = TypeVar("Value")
_NO: Mapping[type[KnobValue], str] = {
    InFlightCap: "Linkerd caps no requests in flight",
    ConnectionLimits: "Linkerd limits neither connections nor requests that wait for one",
}


@dataclass(frozen=True)
class Linkerd:
    """Linkerd 2.16 and newer, with the Gateway API's routes or its own."""

    name: str = "linkerd"
    kinds: tuple[Kind, ...] = (SERVER, LIMIT_POLICY, SERVICE_PROFILE, *ROUTES)
    confirming: frozenset[Kind] = frozenset()
    """None: the conditions that Linkerd sets name no generation; metrics judge."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the objects say; nothing where they differ for one edge, which a write would name."""
        found: dict[Knob, KnobValue | None] = {}
        limit = _said(limits.limit_in, snapshot, place)
        found[Knob.RATE_LIMIT] = None if limit is None else RateLimit(limit)
        older = profile(snapshot, place)
        if older is not None:
            found[Knob.WEIGHTS] = profiles.weights_in(older[1], place)
            found[Knob.RETRIES] = profiles.retries_in(older[1])
        else:
            found[Knob.WEIGHTS] = _said(_weights_in, snapshot, place)
            attempts = _said(noted.attempts_in, snapshot, place)
            found[Knob.RETRIES] = None if attempts is None else RetryPolicy(attempts, None)
            found[Knob.TIMEOUT] = _said(noted.timeout_in, snapshot, place)
            found[Knob.OUTLIER_DETECTION] = _said(noted.outlier_in, snapshot, place)
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        if type(value) in _NO:
            raise Inexpressible(_NO[type(value)])
        return checked(_changes(snapshot, place, value), snapshot, violations)


def _said(of: Callable[[Snapshot, Place], Value | None], snapshot: Snapshot, place: Place) -> Value | None:
    with suppress(Inexpressible):
        return of(snapshot, place)
    return None


def _changes(snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
    if isinstance(value, RateLimit):
        return limits.limit_changes(snapshot, place, value.requests_per_second)
    older = profile(snapshot, place)
    if older is not None:
        return _beside(older, value)
    match value:
        case RetryPolicy(attempts, budget):
            if budget is not None:
                raise Inexpressible("Linkerd has a retry budget only in a ServiceProfile, and there is none")
            return noted.attempts_changes(snapshot, place, attempts)
        case Timeout():
            return noted.timeout_changes(snapshot, place, value)
        case OutlierDetection():
            return noted.outlier_changes(snapshot, place, value)
        case _:
            assert isinstance(value, BackendWeights)
            return weight_changes(_route(snapshot, place), value)


def _route(snapshot: Snapshot, place: Place) -> Route:
    """The route that splits the edge; Inexpressible if there is none, or several."""
    route = route_of(snapshot, place, ROUTES, counts=lambda _: False)
    if route is None:
        raise Inexpressible(
            f"no HTTPRoute or GRPCRoute has the Service {place.callee.namespace}/{place.callee.name} as its "
            "parent: write one with all backends"
        )
    return route


def _weights_in(snapshot: Snapshot, place: Place) -> BackendWeights | None:
    return weights_in(_route(snapshot, place), place.backends)


def _beside(older: Found, value: KnobValue) -> Sequence[AnyChange]:
    if isinstance(value, RetryPolicy):
        return profiles.retry_changes(older, value)
    raise Inexpressible(
        f"{older[0]} makes Linkerd ignore the routes and annotations of its service: move what it says into an "
        "HTTPRoute and delete it"
    )


MESH = Linkerd()
