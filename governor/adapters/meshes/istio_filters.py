"""EnvoyFilters of the governor's own, for what Istio has no fields for: rate limits, caps for priority HIGH.

Buckets and caps count in each proxy. Source: Istio, EnvoyFilter reference; the patches are those that
`istio_patches` has, for Git as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange, OwnObject
from governor.adapters.kubernetes_objects import Body, Ref, Snapshot
from governor.adapters.meshes.bursts import part, whole
from governor.adapters.meshes.durations import seconds
from governor.adapters.meshes.istio_callers import gateways_of, ports_of, selector_of, workload_of
from governor.adapters.meshes.istio_objects import ENVOY_FILTER
from governor.adapters.meshes.istio_patches import (
    RATE_LIMIT_FILTER,
    high_priority_cap,
    inbound_rate_limit,
    token_bucket,
)
from governor.adapters.meshes.istio_routes import routes_of
from governor.adapters.meshes.mesh import Place

HIGH = "high"
"""Name of the routes whose requests are of priority HIGH."""
ROOT_NAMESPACE = "istio-system"
"""Istio's default; EnvoyFilters in it hold for all namespaces."""


def high_cap_changes(snapshot: Snapshot, place: Place, high: int | None) -> list[AnyChange]:
    """The cap of priority HIGH in the caller's proxies."""
    ref = high_cap_ref(place)
    if high is None:
        return [OwnObject(ref, None)] if snapshot.get(ref) is not None else []
    if not any(entry.get("name") == HIGH for _, entry in routes_of(snapshot, place)[1]):
        raise Inexpressible(
            f"no route of {place.callee.host}'s VirtualService is called `{HIGH}`, so which requests are of "
            "priority HIGH is not known"
        )
    if gateways_of(snapshot, place):
        raise Inexpressible(f"{place.caller} is a gateway: caps of priority HIGH are for callers with a sidecar")
    if high < 1:
        raise Inexpressible("Envoy reads a cap of 0 as none may pass")
    requests = part(high / place.caller_proxies, place.clusters)
    patches = high_priority_cap(place.callee.host, requests, ports_of(snapshot, place.callee))
    spec: dict[str, Any] = {"configPatches": patches}
    if labels := selector_of(snapshot, *workload_of(place)):
        # Without it other proxies of the namespace get the cap too, for a service that they do not call.
        spec["workloadSelector"] = {"labels": dict(labels)}
    return [OwnObject(ref, {"spec": spec})]


def high_cap_in(snapshot: Snapshot, place: Place) -> int | None:
    """The cap of priority HIGH over all of the caller's proxies."""
    for patch in _patches(snapshot.get(high_cap_ref(place))):
        for threshold in patch.get("circuit_breakers", {}).get("thresholds", ()):
            return round(place.caller_proxies * whole(int(threshold["max_requests"]), place.clusters))
    return None


def high_cap_ref(place: Place) -> Ref:
    """Where the cap stands: beside the caller, whose proxies it is for."""
    name, namespace = workload_of(place)
    # Dots, which no service's name has: `a` to `b-c` is another edge than `a-b` to `c`.
    return Ref(ENVOY_FILTER, namespace, f"{name}.{place.callee.name}.{place.callee.namespace}.governor-high")


def limit_changes(snapshot: Snapshot, place: Place, rate: float | None) -> list[AnyChange]:
    """The rate limit in front of the callee's workloads."""
    ref = limit_ref(place)
    if rate is None:
        return [OwnObject(ref, None)] if snapshot.get(ref) is not None else []
    if len(place.apis) > 1:
        raise Inexpressible(
            f"{len(place.apis)} APIs enter here, and which requests belong to which Istio does not know"
        )
    labels = selector_of(snapshot, place.callee.name, place.callee.namespace)
    if not labels:
        raise Inexpressible(f"{place.callee.host} has no selector, so its workloads cannot be named")
    if (other := _other_limit(snapshot, ref, labels)) is not None:
        raise Inexpressible(
            f"{other} limits the rate of {place.callee.host} already, and two filters of one name share each "
            "route's settings: take it away, or leave the limit to its owner"
        )
    patch = inbound_rate_limit(token_bucket(rate / max(1, place.callee_proxies)))
    return [OwnObject(ref, {"spec": {"workloadSelector": {"labels": dict(labels)}, "configPatches": [patch]}})]


def limit_in(snapshot: Snapshot, place: Place) -> float | None:
    """Requests/s over all of the callee's proxies."""
    for patch in _patches(snapshot.get(limit_ref(place))):
        bucket = patch.get("typed_config", {}).get("value", {}).get("token_bucket")
        if bucket:
            each = float(bucket["tokens_per_fill"]) / (seconds(bucket["fill_interval"]) or 1.0)
            return each * max(1, place.callee_proxies)
    return None


def limit_ref(place: Place) -> Ref:
    """Where the limit stands."""
    return Ref(ENVOY_FILTER, place.callee.namespace, f"{place.callee.name}-governor-limit")


def _other_limit(snapshot: Snapshot, own: Ref, labels: Mapping[str, str]) -> Ref | None:
    """Somebody else's EnvoyFilter with a local rate limit for pods of these labels."""
    for ref in snapshot.index(ENVOY_FILTER, _limited).get("limit", ()):
        spec = snapshot.objects[ref]["spec"]
        wanted = (spec.get("workloadSelector") or {}).get("labels") or {}
        if ref != own and ref.namespace in {own.namespace, ROOT_NAMESPACE} and wanted.items() <= labels.items():
            return ref
    return None


def _limited(ref: Ref, body: Body) -> Iterator[str]:
    del ref
    if any(RATE_LIMIT_FILTER in json.dumps(patch) for patch in body["spec"].get("configPatches") or ()):
        yield "limit"


def _patches(body: Body | None) -> list[Mapping[str, Any]]:
    patches = ((body or {}).get("spec") or {}).get("configPatches") or ()
    return [patch.get("patch", {}).get("value") or {} for patch in patches]
