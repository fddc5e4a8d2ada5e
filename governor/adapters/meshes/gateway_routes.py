"""Leaves of a route's rules: weights, timeouts, retries.

Every rule that carries the edge is set alike; the last one, the catch-all where there is one, is what is read.
`spec.rules` is one list, so all of it is changed in place. Sources: Gateway API, HTTPRoute reference; GEP-1742
(timeouts), GEP-1731 (retries).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, Change, Edit
from governor.adapters.kubernetes_objects import Ref, Snapshot
from governor.adapters.meshes.durations import gateway_duration, seconds
from governor.adapters.meshes.gateway_objects import GRPC_ROUTE, HTTP_ROUTE, Route, Rule, backend_names
from governor.adapters.meshes.shares import Destination, shares_of, weight_edits
from governor.knobs import BackendWeights, Timeout

DEFAULT_WEIGHT = 1


def weight_changes(route: Route, value: BackendWeights) -> list[Change]:
    """Whole numbers that sum to 100 for the backends of every rule that splits."""
    split = _splitting(route)
    if not split:
        raise Inexpressible(
            f"no rule of {route.ref} splits between two backends: name both in one rule, one with weight 0"
        )
    edits = [
        edit for at, rule in split for edit in weight_edits(route.ref, _destinations(route.ref, at, rule), value)
    ]
    return [Change(route.ref, tuple(edits))]


def weights_in(route: Route, backends: tuple[str, ...]) -> BackendWeights | None:
    """The shares of the last rule that splits, under the names that `backends` has."""
    split = _splitting(route)
    return shares_of(_destinations(route.ref, *split[-1]), backends) if split else None


def splits(route: Route) -> bool:
    """Whether a rule of the route has several backends."""
    return bool(_splitting(route))


def _splitting(route: Route) -> list[tuple[int, Rule]]:
    return [(at, rule) for at, rule in route.rules if len(rule["backendRefs"]) > 1]


def _destinations(ref: Ref, at: int, rule: Rule) -> list[Destination]:
    return [
        Destination(
            path=("spec", "rules", at, "backendRefs", number, "weight"),
            names=backend_names(backend, ref.namespace),
            weight=float(backend.get("weight", DEFAULT_WEIGHT)),
        )
        for number, backend in enumerate(rule["backendRefs"])
    ]


def timeout_changes(route: Route, value: Timeout) -> list[Change]:
    """Timeout of the request and of each try to a backend."""
    if route.ref.kind == GRPC_ROUTE:
        raise Inexpressible(f"{route.ref} has no timeouts: the Gateway API gives them to HTTPRoute alone")
    wanted = {
        "request": None if value.request_s is None else gateway_duration(value.request_s),
        "backendRequest": None if value.per_try_s is None else gateway_duration(value.per_try_s),
    }
    if value.request_s is not None and value.per_try_s is not None and value.per_try_s > value.request_s:
        raise Inexpressible(
            f"a try of {wanted['backendRequest']} cannot outlast its request of {wanted['request']}"
        )
    edits = [
        Edit(("spec", "rules", at, "timeouts", key), ABSENT if text is None else text)
        for at, _ in route.rules
        for key, text in wanted.items()
    ]
    return [Change(route.ref, tuple(edits))]


def timeout_in(route: Route) -> Timeout | None:
    """The timeouts of the last rule; None if neither is set."""
    timeouts: Mapping[str, Any] = route.rules[-1][1].get("timeouts") or {}
    request, per_try = seconds(timeouts.get("request")), seconds(timeouts.get("backendRequest"))
    return None if request is None and per_try is None else Timeout(request, per_try)


def attempts_changes(snapshot: Snapshot, route: Route, attempts: int | None) -> list[Change]:
    """Retries after the first attempt; which answers are tried again stays as it is."""
    if attempts is None and not any("retry" in rule for _, rule in route.rules):
        return []
    if route.ref.kind == GRPC_ROUTE:
        raise Inexpressible(f"{route.ref} has no retries: the Gateway API gives them to HTTPRoute alone")
    if attempts is not None and not _has_retry(snapshot):
        raise Inexpressible(
            f"{route.ref} has no field `retry` in the installed definitions: it is of the experimental channel"
        )
    if attempts is not None and attempts < 1:
        raise Inexpressible(
            f"{route.ref} takes no fewer than 1 attempt: to retry nothing, take `retry` out of its rules"
        )
    edits = [
        Edit(("spec", "rules", at, "retry", "attempts"), ABSENT if attempts is None else attempts)
        for at, _ in route.rules
    ]
    return [Change(route.ref, tuple(edits))]


def attempts_in(route: Route) -> int | None:
    """Retries of the last rule; None if it does not say."""
    found = (route.rules[-1][1].get("retry") or {}).get("attempts")
    return None if found is None else int(found)


def _has_retry(snapshot: Snapshot) -> bool:
    """Whether HTTPRoutes may say `retry` here, without reading the definitions, which are megabytes.

    The policies of gateway.networking.x-k8s.io come with the experimental channel only.
    """
    return any(kind.group.endswith(".x-k8s.io") for kind in snapshot.installed) or any(
        "retry" in rule for _, body in snapshot.of(HTTP_ROUTE) for rule in body["spec"].get("rules") or ()
    )
