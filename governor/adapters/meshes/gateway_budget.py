"""The retry budget of the Gateway API: XBackendTrafficPolicy, on the Services that an edge's requests end at.

Two policies of one Service are not merged, so a user's is changed where there is one. The definition fills in
what a policy leaves out; those leaves are named here as well, or they would stay behind when the budget goes.
Source: GEP-3388 (retry budgets); Istio reads it since 1.26 with PILOT_ENABLE_ALPHA_GATEWAY_API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, AnyChange, Change, Edit, OwnObject, value_at
from governor.adapters.kubernetes_objects import Body, Found, Kind, Ref, Snapshot
from governor.adapters.meshes.gateway_objects import Key
from governor.adapters.meshes.mesh import Service
from governor.adapters.meshes.shares import whole_percent

POLICY = Kind("gateway.networking.x-k8s.io", "v1alpha1", "xbackendtrafficpolicies", "XBackendTrafficPolicy")
CONSTRAINT = ("spec", "retryConstraint")
PERCENT = (*CONSTRAINT, "budget", "percent")
FILLED_IN: Mapping[tuple[str, ...], Any] = {
    (*CONSTRAINT, "budget", "interval"): "10s",
    (*CONSTRAINT, "minRetryRate", "count"): 10,
    (*CONSTRAINT, "minRetryRate", "interval"): "1s",
}
DEFAULT_PERCENT = 20


def _targets(ref: Ref, body: Body) -> Iterable[Key]:
    for target in body["spec"].get("targetRefs") or ():
        if not target.get("group") and target.get("kind") == "Service":
            yield str(target["name"]), ref.namespace


def budget_changes(
    snapshot: Snapshot, callee: Service, services: tuple[Key, ...], budget: float | None
) -> list[AnyChange]:
    """The budget as a share of active requests, in whole percent, rounded down."""
    found = _policy(snapshot, services)
    if budget is None:
        edits = [Edit(path, ABSENT) for path in (PERCENT, *FILLED_IN)]
        return [] if found is None else [Change(found[0], tuple(edits))]
    if POLICY not in snapshot.installed:
        raise Inexpressible(
            "XBackendTrafficPolicy, which holds retry budgets, is not installed: it is of the Gateway API's "
            "experimental channel"
        )
    percent = Edit(PERCENT, whole_percent(budget))
    filled = [
        Edit(path, default if (now := value_at(found and found[1], path)) is ABSENT else now)
        for path, default in FILLED_IN.items()
    ]
    edits = [percent, *filled]
    if found is not None:
        strangers = sorted(set(_targets(*found)) - set(services))
        if strangers:
            raise Inexpressible(
                f"{found[0]} is for {strangers[0][0]} as well: give {callee.name} a policy of its own"
            )
        return [Change(found[0], tuple(edits))]
    away = [f"{name} is in {namespace}" for name, namespace in services if namespace != callee.namespace]
    if away or not services:
        raise Inexpressible(
            f"a policy for {callee.host} must be beside its Services, and {(away or ['there is none'])[0]}"
        )
    ref = Ref(POLICY, callee.namespace, f"{callee.name}-governor")
    targets = [{"group": "", "kind": "Service", "name": name} for name, _ in services]
    return [OwnObject(ref, {"spec": {"targetRefs": targets}}), Change(ref, tuple(edits))]


def budget_in(snapshot: Snapshot, services: tuple[Key, ...]) -> float | None:
    """The inverse of `budget_changes`."""
    found = _policy(snapshot, services)
    if found is None or value_at(found[1], CONSTRAINT) is ABSENT:
        return None
    percent = value_at(found[1], PERCENT)
    return (DEFAULT_PERCENT if percent is ABSENT else float(percent)) / 100


def _policy(snapshot: Snapshot, services: tuple[Key, ...]) -> Found | None:
    """The one policy of all these Services; None if none has one."""
    index = snapshot.index(POLICY, _targets)
    refs = {ref for key in services for ref in index.get(key, ())}
    if len(refs) > 1:
        names = " and ".join(str(ref) for ref in sorted(refs))
        raise Inexpressible(f"{names} both are for these Services, and only the oldest of a Service counts")
    for ref in refs:
        missing = sorted(set(services) - set(_targets(ref, snapshot.objects[ref])))
        if missing:
            raise Inexpressible(f"{ref} is not for {missing[0][0]}, to which the same requests go: add it there")
        return ref, snapshot.objects[ref]
    return None
