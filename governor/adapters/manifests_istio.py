"""Changes as Istio objects: VirtualService, DestinationRule and EnvoyFilter patches for Git.

Istio's zeros mean "unset" and its limits count per proxy; the traps below are of Istio 1.30-1.31.
Each object names only the fields that change. Lists (`spec.http`) replace what stands in the object of the user,
hence the comments: a second DestinationRule or VirtualService for one host is not merged by Istio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from governor.adapters.manifests import Manifest, NotRendered, Rendered, largest_remainder
from governor.adapters.manifests_istio_filters import high_priority_cap, inbound_rate_limit, token_bucket
from governor.domain import MeshFrame
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    OutlierDetection,
    Proposal,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)

_HOST = re.compile(
    r"(?P<name>[a-z0-9]([-a-z0-9]*[a-z0-9])?)\.(?P<namespace>[a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc(\..+)?"
)
_SUBSET = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?")
API_VERSION = "networking.istio.io/v1"
FILTER_VERSION = "networking.istio.io/v1alpha3"


class _CannotSay(Exception):  # noqa: N818 - a refusal, not a fault
    """Istio's objects cannot express the change; the message says why."""


@dataclass
class _Host:
    """What is gathered for one Kubernetes service."""

    host: str
    name: str
    namespace: str
    http: dict[str, Any] = field(default_factory=dict)
    """Fields of the one entry of VirtualService.spec.http."""
    policy: dict[str, Any] = field(default_factory=dict)
    """DestinationRule.spec.trafficPolicy."""
    patches: list[dict[str, Any]] = field(default_factory=list)
    """EnvoyFilter.spec.configPatches."""
    taken: dict[str, Target] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, text: str) -> None:
        if text not in self.comments.setdefault(kind, []):
            self.comments[kind].append(text)


def render(proposals: Sequence[Proposal], frame: MeshFrame) -> Rendered:
    """`proposals` as Istio objects; those that cannot be expressed are named with the reason."""
    hosts: dict[str, _Host] = {}
    left_out: list[NotRendered] = []
    for proposal in sorted(proposals, key=lambda p: (-p.traffic, str(p.target), p.knob)):
        try:
            service = callee_of(proposal.target, frame)
            host = hosts.get(service) or _host(service)
            _add(host, proposal, frame)
            hosts[service] = host
        except _CannotSay as why:
            left_out.append(NotRendered(proposal.target, proposal.knob.value, str(why)))
    manifests = [m for name in sorted(hosts) for m in _manifests(hosts[name])]
    return Rendered(tuple(manifests), tuple(left_out))


def _host(service: str) -> _Host:
    match = _HOST.fullmatch(service)
    if match is None:
        raise _CannotSay(f"{service or 'its service'} is no Kubernetes host (name.namespace.svc...)")
    return _Host(service, match["name"], match["namespace"])


def callee_of(target: Target, frame: MeshFrame) -> str:
    """Name of the service that a target's edge, or its API's entry edge, leads to; empty if it is unknown."""
    index = frame.index
    if target.kind is TargetKind.EDGE:
        edge = index.edges.index(target.name) if target.name in index.edges else -1
    else:
        edge = int(index.api_edge[index.apis.index(target.name)]) if target.name in index.apis else -1
    return index.services[int(index.edge_callee[edge])] if edge >= 0 else ""


def _add(host: _Host, proposal: Proposal, frame: MeshFrame) -> None:
    other = host.taken.get(proposal.knob.value)
    if other is not None:
        raise _CannotSay(f"one object serves all callers of {host.host}, and {other} is already in it")
    match proposal.proposed:
        case RetryPolicy() as value:
            _retries(host, value)
        case Timeout() as value:
            _timeout(host, value)
        case BackendWeights() as value:
            _weights(host, value)
        case OutlierDetection() as value:
            _outlier_detection(host, value)
        case ConnectionLimits() as value:
            _connection_limits(host, value)
        case InFlightCap() as value:
            _cap(host, value)
        case RateLimit() as value:
            _rate_limit(host, value, proposal.target, frame)
    host.taken[proposal.knob.value] = proposal.target


def duration(seconds: float) -> str:
    """Istio takes whole milliseconds, at least one."""
    return f"{max(1, round(seconds * 1000))}ms"


def _retries(host: _Host, value: RetryPolicy) -> None:
    if value.attempts is None and value.budget is None:
        raise _CannotSay("it removes the setting: delete retries and retryBudget from your objects")
    if value.attempts is not None:
        stanza = host.http.setdefault("retries", {})
        stanza["attempts"] = value.attempts
        if value.attempts == 0 and stanza.pop("perTryTimeout", None):
            host.note("VirtualService", "perTryTimeout is left out: Istio rejects it beside attempts: 0.")
    if value.budget is not None:
        host.policy["retryBudget"] = {"percent": round(value.budget * 100, 2), "minRetryConcurrency": 3}
        host.note(
            "DestinationRule",
            "retryBudget needs Istio 1.27; up to 1.29 a budget alone, or one of a subset, is lost.",
        )


def _timeout(host: _Host, value: Timeout) -> None:
    if value.request_s is None and value.per_try_s is None:
        raise _CannotSay("it removes the setting: delete timeout from your VirtualService")
    if value.request_s is not None:
        host.http["timeout"] = duration(value.request_s)
    if value.per_try_s is None:
        return
    attempts = host.http.get("retries", {}).get("attempts")
    if attempts == 0:
        host.note("VirtualService", "perTryTimeout is left out: Istio rejects it beside attempts: 0.")
        return
    host.http.setdefault("retries", {})["perTryTimeout"] = duration(value.per_try_s)
    if attempts is None:
        # A stanza without attempts would be read as attempts: 0 and rejected; 2 is Istio's own default.
        host.http["retries"]["attempts"] = 2
        host.note(
            "VirtualService",
            "attempts: 2 is Istio's default, named because perTryTimeout needs a number beside it.",
        )


def _weights(host: _Host, value: BackendWeights) -> None:
    strange = [name for name, _ in value.shares if not _SUBSET.fullmatch(name)]
    if strange:
        raise _CannotSay(f"weights are given to subsets, and {strange[0]} is not the name of one")
    if len(value.shares) < 2 or sum(share for _, share in value.shares) <= 0:
        raise _CannotSay("weights need two destinations and must not all be zero")
    numbers = largest_remainder([share for _, share in value.shares])
    host.http["route"] = [
        {"destination": {"host": host.host, "subset": name}, "weight": number}
        for (name, _), number in zip(value.shares, numbers, strict=True)
    ]
    host.note("VirtualService", "The subsets must be named in this host's DestinationRule.")


def _outlier_detection(host: _Host, value: OutlierDetection) -> None:
    if value.max_ejection is None and value.consecutive_5xx is None:
        raise _CannotSay("it removes the setting: delete outlierDetection from your DestinationRule")
    stanza: dict[str, Any] = {}
    percent = None if value.max_ejection is None else math.floor(value.max_ejection * 100 + 1e-6)
    if value.consecutive_5xx is not None:
        stanza["consecutive5xxErrors"] = value.consecutive_5xx
    if percent == 0:
        # maxEjectionPercent: 0 is read as unset, which is Envoy's 10 %. Detectors that are off eject nobody.
        stanza |= {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 0}
        host.note(
            "DestinationRule",
            "To eject nobody the detectors are off: Istio reads maxEjectionPercent: 0 as 10 %.",
        )
    elif percent is not None:
        stanza["maxEjectionPercent"] = percent
    host.policy["outlierDetection"] = stanza


def _positive(number: int, what: str) -> int:
    if number < 1:
        raise _CannotSay(f"Istio reads {what}: 0 as no limit")
    return number


def _pool(host: _Host, protocol: str) -> dict[str, Any]:
    pool: dict[str, Any] = host.policy.setdefault("connectionPool", {}).setdefault(protocol, {})
    host.note(
        "DestinationRule", "Limits count per client proxy. A subset's connectionPool replaces this one whole."
    )
    return pool


def _connection_limits(host: _Host, value: ConnectionLimits) -> None:
    if value.max_connections is None and value.max_pending_requests is None:
        raise _CannotSay("it removes the setting: delete the limits from your DestinationRule")
    for protocol, limit, number in (
        ("tcp", "maxConnections", value.max_connections),
        ("http", "http1MaxPendingRequests", value.max_pending_requests),
    ):
        if number is not None:
            _pool(host, protocol)[limit] = _positive(number, limit)


def _cap(host: _Host, value: InFlightCap) -> None:
    if value.default is None and value.high is None:
        raise _CannotSay("it removes the setting: delete http2MaxRequests from your DestinationRule")
    if value.default is not None:
        number = _positive(value.default, "http2MaxRequests")
        _pool(host, "http")["http2MaxRequests"] = number
    if value.high is not None:
        host.patches += high_priority_cap(host.host, _positive(value.high, "max_requests"))
        host.note(
            "EnvoyFilter",
            "The HIGH cap counts requests of routes named `high` in this host's VirtualService.",
        )


def _rate_limit(host: _Host, value: RateLimit, target: Target, frame: MeshFrame) -> None:
    if value.requests_per_second is None:
        raise _CannotSay("it removes the limit: delete the EnvoyFilter that sets it")
    index = frame.index
    entry = index.api_edge[index.apis.index(target.name)]
    if int((index.api_edge == entry).sum()) > 1:
        raise _CannotSay("several APIs enter here, and which requests belong to which Istio does not know")
    replicas = float(frame.service.replicas[index.services.index(host.host)])
    proxies = max(1, round(replicas)) if math.isfinite(replicas) else 1
    bucket = token_bucket(value.requests_per_second / proxies)
    host.patches.append(inbound_rate_limit(bucket))
    known = (
        f"{proxies} proxies were seen"
        if math.isfinite(replicas)
        else "the number of proxies is unknown (?), 1 is assumed"
    )
    host.note(
        "EnvoyFilter", f"Buckets count per proxy: {value.requests_per_second:g} requests/s in all, {known}."
    )
    host.note("EnvoyFilter", "Add a workloadSelector, or every workload of the namespace is limited.")


def _manifests(host: _Host) -> list[Manifest]:
    found = []
    if host.http:
        entry = {"route": [{"destination": {"host": host.host}}]} | host.http
        host.note(
            "VirtualService",
            "Put these fields into your route of this host: spec.http is one list, replaced whole.",
        )
        found.append(_manifest(host, "VirtualService", API_VERSION, {"hosts": [host.host], "http": [entry]}))
    if host.policy:
        host.note("DestinationRule", "Merge into your DestinationRule of this host: Istio does not merge two.")
        spec = {"host": host.host, "trafficPolicy": host.policy}
        found.append(_manifest(host, "DestinationRule", API_VERSION, spec))
    if host.patches:
        host.note("EnvoyFilter", "Waypoints ignore EnvoyFilters silently.")
        found.append(_manifest(host, "EnvoyFilter", FILTER_VERSION, {"configPatches": host.patches}))
    return found


def _manifest(host: _Host, kind: str, version: str, spec: dict[str, Any]) -> Manifest:
    name = f"{host.name}-governor" if kind == "EnvoyFilter" else host.name
    metadata = {"name": name, "namespace": host.namespace}
    body = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    return Manifest(body, tuple(host.comments.get(kind, ())))
