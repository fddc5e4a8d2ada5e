"""Leaves of a VirtualService's http routes: weights, retries, timeouts.

Every entry of `spec.http` that leads to the callee and nowhere else is set alike. Sources: Istio, VirtualService
reference (HTTPRoute, HTTPRetry); the webhook's rules are those of 1.31.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, AnyChange, Change, Edit, FieldPath, OwnObject
from governor.adapters.kubernetes_objects import Body, Found, Ref, Snapshot
from governor.adapters.meshes import istio_endpoints as endpoints
from governor.adapters.meshes.durations import milliseconds, seconds
from governor.adapters.meshes.istio_objects import (
    VIRTUAL_SERVICE,
    entries,
    refuse_own_route,
    virtual_service,
)
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.shares import Destination, service_names, shares_of, weight_edits
from governor.knobs import BackendWeights, Knob, KnobValue, RetryPolicy, Timeout

DEFAULT_ATTEMPTS = 2
"""Istio's own retries where a route has no stanza."""
REFUSED_WITHOUT_ATTEMPTS = ("retryOn", "perTryTimeout", "retryRemoteLocalities")
"""Fields that must not stand beside `attempts: 0`."""

Routes = Sequence[tuple[int, Mapping[str, Any]]]
EntryEdits = Callable[[int, Mapping[str, Any]], list[Edit]]


def routes_of(snapshot: Snapshot, place: Place) -> tuple[Found | None, Routes]:
    """The VirtualService of this edge, and its entries that lead to the callee only."""
    found = virtual_service(snapshot, place)
    return found, [] if found is None else entries(found, place.callee)


def counting(snapshot: Snapshot, place: Place) -> Place:
    """The place with the clusters over which its requests are spread.

    A limit counts in each cluster, and a route that splits has a cluster for each subset: what each may have is
    the whole over 1 / (largest share), so that no subset gets less than its part.
    """
    with suppress(Inexpressible):
        _, leading = routes_of(snapshot, place)
        weights = [float(route.get("weight", 0)) for route in leading[-1][1]["route"]] if leading else []
        if len(weights) > 1 and sum(weights) > 0:
            return replace(place, clusters=sum(weights) / max(weights))
    return place


def settings(snapshot: Snapshot, place: Place, budget: KnobValue | None) -> dict[Knob, KnobValue | None]:
    """What the edge's routes say; `budget` is the retries' knob with the budget, which stands elsewhere."""
    found, leading = routes_of(snapshot, place)
    attempts = attempts_in(leading)
    share = budget.budget if isinstance(budget, RetryPolicy) else None
    return {
        Knob.RETRIES: None if attempts is None and share is None else RetryPolicy(attempts, share),
        Knob.TIMEOUT: timeout_in(leading),
        Knob.WEIGHTS: weights_in(found, leading, place.backends) or _weights_of_endpoints(snapshot, place),
    }


def timeout_changes(snapshot: Snapshot, place: Place, value: Timeout) -> list[AnyChange]:
    """Timeout of the request and of each try."""
    return _route_changes(snapshot, place, partial(timeout_edits, value), nothing=value == Timeout(None, None))


def timeout_edits(value: Timeout, position: int, entry: Mapping[str, Any]) -> list[Edit]:
    """Edits of the http entry at `position`; the time of a try is left out where there are no retries.

    Raises Inexpressible if a try is to last longer than its request, or nothing is left to write.
    """
    request, per_try = (None if s is None else milliseconds(s) for s in (value.request_s, value.per_try_s))
    if value.request_s is not None and value.per_try_s is not None and value.per_try_s > value.request_s:
        raise Inexpressible(f"a try of {per_try} cannot outlast its request of {request}")
    at: FieldPath = ("spec", "http", position)
    retries = entry.get("retries") or {}
    found = [Edit((*at, "timeout"), ABSENT if request is None else request)]
    if per_try is None:
        if "perTryTimeout" in retries:
            found.append(Edit((*at, "retries", "perTryTimeout"), ABSENT))
    elif entry.get("retries") is not None and not retries.get("attempts"):
        if request is None:
            raise Inexpressible(
                f"spec.http[{position}] has no retries, and a perTryTimeout may not stand beside attempts: 0: "
                "set a timeout of the request"
            )
    else:
        found.append(Edit((*at, "retries", "perTryTimeout"), per_try))
        # A stanza without attempts is read as attempts: 0, beside which no perTryTimeout may stand: so the
        # number belongs to this knob as well, whoever else lets go of it.
        found.append(Edit((*at, "retries", "attempts"), retries.get("attempts", DEFAULT_ATTEMPTS)))
    return found


def timeout_in(routes: Routes) -> Timeout | None:
    """The timeouts of the last entry, the catch-all where there is one; None if neither is set."""
    if not routes:
        return None
    entry = routes[-1][1]
    request = seconds(entry.get("timeout"))
    per_try = seconds((entry.get("retries") or {}).get("perTryTimeout"))
    return None if request is None and per_try is None else Timeout(request, per_try)


def attempts_changes(snapshot: Snapshot, place: Place, attempts: int | None) -> list[AnyChange]:
    """Retries after the first attempt."""
    return _route_changes(snapshot, place, partial(attempts_edits, attempts), nothing=attempts is None)


def attempts_edits(attempts: int | None, position: int, entry: Mapping[str, Any]) -> list[Edit]:
    """Edits of the http entry at `position`, with those of what may not stand beside the number."""
    at: FieldPath = ("spec", "http", position, "retries")
    retries = entry.get("retries") or {}
    if attempts is None:
        # Without attempts a stanza would mean attempts: 0: what stands beside it goes as well.
        return [Edit((*at, key), ABSENT) for key in retries]
    found = [Edit((*at, "attempts"), attempts)]
    if attempts == 0:
        found += [Edit((*at, key), ABSENT) for key in REFUSED_WITHOUT_ATTEMPTS if key in retries]
    return found


def attempts_in(routes: Routes) -> int | None:
    """Retries of the last entry; None without a stanza."""
    retries = routes[-1][1].get("retries") if routes else None
    return None if retries is None else int(retries.get("attempts", 0))


def weight_changes(snapshot: Snapshot, place: Place, value: BackendWeights) -> list[AnyChange]:
    """Whole numbers for the destinations of every entry that splits, or else for the host's endpoints."""
    if not value.shares or sum(share for _, share in value.shares) <= 0:
        raise Inexpressible("weights must not all be zero")
    found, routes = routes_of(snapshot, place)
    split = [(position, entry) for position, entry in routes if len(entry["route"]) > 1]
    if not split and (pool := endpoints.pool(snapshot, place)) is not None:
        return [endpoints.weight_change(snapshot, place, pool, value)]
    if found is None:
        raise Inexpressible(f"no VirtualService leads to {place.callee.host}: write one with both destinations")
    if not split:
        raise Inexpressible(f"no route of {found[0]} splits {place.callee.host} between two destinations")
    edits = [
        edit
        for position, entry in split
        for edit in weight_edits(found[0], _destinations(position, entry, found[0].namespace), value)
    ]
    return [Change(found[0], tuple(edits))]


def weights_in(found: Found | None, routes: Routes, backends: Sequence[str]) -> BackendWeights | None:
    """The shares of the last entry that splits."""
    for position, entry in reversed(routes):
        if found is not None and len(entry["route"]) > 1:
            return shares_of(_destinations(position, entry, found[0].namespace), backends)
    return None


def _weights_of_endpoints(snapshot: Snapshot, place: Place) -> BackendWeights | None:
    # What cannot be told of weights does not hide what the routes say.
    with suppress(Inexpressible):
        if (pool := endpoints.pool(snapshot, place)) is not None:
            return endpoints.weights_in(pool, place.backends)
    return None


def _destinations(position: int, entry: Mapping[str, Any], namespace: str) -> list[Destination]:
    """The entry's destinations, called as their subset, or as their host where they name none."""
    found = []
    for number, route in enumerate(entry["route"]):
        to = route["destination"]
        names = (str(to["subset"]),) if to.get("subset") else service_names(str(to["host"]), namespace)
        path = ("spec", "http", position, "route", number, "weight")
        found.append(Destination(path, names, float(route.get("weight", 0))))
    return found


def _route_changes(snapshot: Snapshot, place: Place, edits: EntryEdits, *, nothing: bool) -> list[AnyChange]:
    found, routes = routes_of(snapshot, place)
    if found is None:
        return [] if nothing else _own_route(snapshot, place, edits)
    if not routes:
        raise Inexpressible(f"every route of {found[0]} to {place.callee.host} leads to other hosts as well")
    made = [edit for position, entry in routes for edit in edits(position, entry)]
    return [Change(found[0], tuple(made))]


def _own_route(snapshot: Snapshot, place: Place, edits: EntryEdits) -> list[AnyChange]:
    """A VirtualService of the governor's own, where nobody routes to the host yet."""
    refuse_own_route(snapshot, place)
    service = place.callee
    ref = Ref(VIRTUAL_SERVICE, service.namespace, f"{service.name}-governor")
    entry: Body = {"route": [{"destination": {"host": service.host}}]}
    body = {"spec": {"hosts": [service.host], "http": [entry]}}
    return [OwnObject(ref, body), Change(ref, tuple(edits(0, entry)))]
