"""Leaves of a DestinationRule's trafficPolicy: caps, connection limits, outlier detection, retry budget.

Istio's zeros mean "unset"; limits count in each client's proxy. Source: Istio, DestinationRule reference
(ConnectionPoolSettings, OutlierDetection, RetryBudget); measured on 1.31.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, AnyChange, Change, Edit, OwnObject
from governor.adapters.kubernetes_objects import Body, Ref, Snapshot
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, blocked_by, destination_rule
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.shares import whole_percent
from governor.knobs import ConnectionLimits, InFlightCap, Knob, KnobValue, OutlierDetection, RetryPolicy

POLICY = ("spec", "trafficPolicy")
MAX_REQUESTS = ("connectionPool", "http", "http2MaxRequests")
MAX_CONNECTIONS = ("connectionPool", "tcp", "maxConnections")
MAX_PENDING = ("connectionPool", "http", "http1MaxPendingRequests")
CONSECUTIVE_5XX = ("outlierDetection", "consecutive5xxErrors")
CONSECUTIVE_GATEWAY = ("outlierDetection", "consecutiveGatewayErrors")
MAX_EJECTION = ("outlierDetection", "maxEjectionPercent")
BUDGET_PERCENT = ("retryBudget", "percent")
BUDGET_FLOOR = ("retryBudget", "minRetryConcurrency")
BUDGET_INTERVAL = ("retryBudget", "budgetInterval")
LOCAL_ORIGIN = ("outlierDetection", "consecutiveLocalOriginFailures")
SPLIT_ORIGIN = ("outlierDetection", "splitExternalLocalOriginErrors")
LEAST_CONCURRENT_RETRIES = 3
"""Istio's own default of minRetryConcurrency, named because a budget without it has had other defaults."""

Leaves = Mapping[tuple[str, ...], Any]
LeavesOver = Callable[[Mapping[str, Any]], Leaves]


def policy_of(rule: Body | None) -> Mapping[str, Any]:
    """The top level's traffic policy."""
    found: Mapping[str, Any] = ((rule or {}).get("spec") or {}).get("trafficPolicy") or {}
    return found


def leaf(policy: Mapping[str, Any], path: Sequence[str]) -> Any:
    """One leaf of a traffic policy, None if it is not set."""
    found: Any = policy
    for part in path:
        found = (found or {}).get(part)
    return found


def settings(snapshot: Snapshot, place: Place, high: int | None = None) -> dict[Knob, KnobValue | None]:
    """What the host's rule says; `high` is the cap of priority HIGH, which stands elsewhere."""
    found = destination_rule(snapshot, place)
    policy = policy_of(found[1] if found else None)
    budget = budget_in(policy)
    cap = InFlightCap(over_all(leaf(policy, MAX_REQUESTS), place.counters), high)
    limits = ConnectionLimits(
        over_all(leaf(policy, MAX_CONNECTIONS), place.counters),
        over_all(leaf(policy, MAX_PENDING), place.counters),
    )
    return {
        Knob.RETRIES: None if budget is None else RetryPolicy(None, budget),
        Knob.IN_FLIGHT_CAP: None if cap == InFlightCap(None, None) else cap,
        Knob.CONNECTION_LIMITS: None if limits == ConnectionLimits(None, None) else limits,
        Knob.OUTLIER_DETECTION: outlier_in(policy),
    }


def balancer_of(snapshot: Snapshot, place: Place) -> str | None:
    """The simple load balancer of the host's rule, None if it names none."""
    found = destination_rule(snapshot, place)
    simple: str | None = leaf(policy_of(found[1] if found else None), ("loadBalancer", "simple"))
    return simple


PolicyValue = InFlightCap | ConnectionLimits | OutlierDetection


def policy_changes(snapshot: Snapshot, place: Place, value: PolicyValue) -> list[AnyChange]:
    """The cap of priority DEFAULT, connections and requests that wait for one, or outlier detection."""
    return rule_changes(snapshot, place, partial(policy_leaves, value, place.counters))


def policy_leaves(value: PolicyValue, proxies: float, policy: Mapping[str, Any]) -> Leaves:
    """The leaves of such a value over the traffic policy that is there, for each of the client's proxies."""
    match value:
        case OutlierDetection():
            return outlier_leaves(value, policy)
        case InFlightCap():
            return {MAX_REQUESTS: per_proxy(value.default, proxies)}
        case ConnectionLimits():
            return {
                MAX_CONNECTIONS: per_proxy(value.max_connections, proxies),
                MAX_PENDING: per_proxy(value.max_pending_requests, proxies),
            }


def budget_changes(snapshot: Snapshot, place: Place, budget: float | None) -> list[AnyChange]:
    """The retry budget."""
    return rule_changes(snapshot, place, partial(budget_leaves, budget))


def rule_changes(snapshot: Snapshot, place: Place, leaves_over: LeavesOver) -> list[AnyChange]:
    """Changes that set leaves (None: take away) in the host's rule, or in one of the governor's own.

    `leaves_over` gives them for the traffic policy that is there.
    """
    service, found = place.callee, destination_rule(snapshot, place)
    leaves = leaves_over(policy_of(found[1] if found else None))
    edits = tuple(Edit((*POLICY, *path), ABSENT if value is None else value) for path, value in leaves.items())
    if found is None:
        if all(value is None for value in leaves.values()):
            return []
        ref = Ref(DESTINATION_RULE, service.namespace, f"{service.name}-governor")
        return [OwnObject(ref, {"spec": {"host": service.host}}), Change(ref, edits)]
    ref, rule = found
    for path in leaves:
        if (other := blocked_by(rule, path)) is not None:
            raise Inexpressible(
                f"{other} of {ref} has a policy of its own, which replaces {path[0]} at the top: move it there, "
                "or leave it to its owner"
            )
    return [Change(ref, edits)]


def outlier_leaves(value: OutlierDetection, policy: Mapping[str, Any]) -> Leaves:
    """Share and failures in a row; to eject nobody all detectors are off, for a share of 0 is read as 10 %."""
    percent = None if value.max_ejection is None else whole_percent(value.max_ejection)
    if percent != 0:
        return {MAX_EJECTION: percent, CONSECUTIVE_5XX: value.consecutive_5xx}
    off: dict[tuple[str, ...], Any] = {MAX_EJECTION: None, CONSECUTIVE_5XX: 0, CONSECUTIVE_GATEWAY: 0}
    return {**off, LOCAL_ORIGIN: 0} if leaf(policy, SPLIT_ORIGIN) else off


def outlier_in(policy: Mapping[str, Any]) -> OutlierDetection | None:
    """The inverse of `outlier_leaves`; None if there is no outlier detection."""
    if policy.get("outlierDetection") is None:
        return None
    percent, errors = leaf(policy, MAX_EJECTION), leaf(policy, CONSECUTIVE_5XX)
    local = leaf(policy, SPLIT_ORIGIN) and leaf(policy, LOCAL_ORIGIN) != 0
    if errors == 0 and not leaf(policy, CONSECUTIVE_GATEWAY) and not local:
        return OutlierDetection(0.0, None)
    return OutlierDetection(percent / 100 if percent else None, errors or None)


def budget_leaves(budget: float | None, policy: Mapping[str, Any]) -> Leaves:
    """The retry budget, as a share of active requests; the floor stays where there is one."""
    if budget is None:
        return {BUDGET_PERCENT: None, BUDGET_FLOOR: None, BUDGET_INTERVAL: None}
    floor = leaf(policy, BUDGET_FLOOR)
    return {
        BUDGET_PERCENT: round(budget * 100, 2),
        BUDGET_FLOOR: LEAST_CONCURRENT_RETRIES if floor is None else floor,
    }


def budget_in(policy: Mapping[str, Any]) -> float | None:
    """The inverse of `budget_leaves`."""
    percent = leaf(policy, BUDGET_PERCENT)
    return None if percent is None else float(percent) / 100


def per_proxy(total: int | None, proxies: float) -> int | None:
    """Each proxy's part, rounded up; Inexpressible for 0, which Istio reads as no limit."""
    if total is None:
        return None
    if total < 1:
        raise Inexpressible("Istio reads a limit of 0 as no limit at all")
    return math.ceil(total / proxies)


def over_all(each: int | None, proxies: float) -> int | None:
    """What the proxies allow together; None if they set no limit."""
    return round(each * proxies) if each else None
