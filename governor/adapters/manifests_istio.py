"""Changes as Istio objects for Git: VirtualService, DestinationRule and EnvoyFilter patches.

The fields are those that `meshes/istio_*` writes into a cluster; here the user's objects are not known. Each
object names only the fields that change. Lists (`spec.http`) replace what stands in the object of the user,
hence the comments: a second DestinationRule or VirtualService for one host is not merged by Istio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, Edit, edited
from governor.adapters.kubernetes_objects import Kind
from governor.adapters.manifests import Manifest, NotRendered, Rendered, largest_remainder
from governor.adapters.meshes import istio_destination as rule
from governor.adapters.meshes import istio_routes as routes
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, ENVOY_FILTER, VIRTUAL_SERVICE
from governor.adapters.meshes.istio_patches import high_priority_cap, inbound_rate_limit, token_bucket
from governor.adapters.meshes.mesh import Service, service_of
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
    value_to_json,
)

_SUBSET = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?")


@dataclass
class _Host:
    """What is gathered for one Kubernetes service."""

    service: Service
    route: dict[str, Any] = field(default_factory=lambda: {"spec": {"http": [{}]}})
    """A VirtualService with one entry."""
    destination_rule: dict[str, Any] = field(default_factory=dict)
    """A DestinationRule."""
    patches: list[dict[str, Any]] = field(default_factory=list)
    """EnvoyFilter.spec.configPatches."""
    taken: dict[str, Target] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, Any]:
        """The one entry of VirtualService.spec.http."""
        found: dict[str, Any] = self.route["spec"]["http"][0]
        return found

    def change_entry(self, edits: Callable[[int, dict[str, Any]], list[Edit]]) -> None:
        self.route = edited(self.route, edits(0, self.entry))

    def change_policy(self, leaves_over: rule.LeavesOver) -> None:
        leaves = leaves_over(rule.policy_of(self.destination_rule))
        edits = [Edit((*rule.POLICY, *path), ABSENT if v is None else v) for path, v in leaves.items()]
        self.destination_rule = edited(self.destination_rule, edits)

    def note(self, kind: str, text: str) -> None:
        if text not in self.comments.setdefault(kind, []):
            self.comments[kind].append(text)


def render(proposals: Sequence[Proposal], frame: MeshFrame) -> Rendered:
    """`proposals` as Istio objects; those that cannot be expressed are named with the reason."""
    hosts: dict[str, _Host] = {}
    left_out: list[NotRendered] = []
    for proposal in sorted(proposals, key=lambda p: (-p.traffic, str(p.target), p.knob)):
        try:
            name = _callee_of(proposal.target, frame)
            host = hosts.get(name) or _host(name)
            _add(host, proposal, frame)
            hosts[name] = host
        except Inexpressible as why:
            left_out.append(NotRendered(proposal.target, proposal.knob.value, str(why)))
    manifests = [m for name in sorted(hosts) for m in _manifests(hosts[name])]
    return Rendered(tuple(manifests), tuple(left_out))


def _host(name: str) -> _Host:
    service = service_of(name)
    if service is None:
        raise Inexpressible(f"{name or 'its service'} is no Kubernetes host (name.namespace.svc...)")
    return _Host(service)


def _callee_of(target: Target, frame: MeshFrame) -> str:
    """Name of the service that a target's edge, or its API's entry edge, leads to; empty if it is unknown."""
    edge = _edge_of(target, frame)
    return frame.index.services[int(frame.index.edge_callee[edge])] if edge >= 0 else ""


def _edge_of(target: Target, frame: MeshFrame) -> int:
    index = frame.index
    if target.kind is TargetKind.EDGE:
        return index.edge_position.get(target.name, -1)
    api = index.api_position.get(target.name)
    return -1 if api is None else int(index.api_edge[api])


def _add(host: _Host, proposal: Proposal, frame: MeshFrame) -> None:
    value, other = proposal.proposed, host.taken.get(proposal.knob.value)
    if other is not None:
        raise Inexpressible(f"one object serves all callers of {host.service.host}, and {other} is already in it")
    if all(part is None for part in value_to_json(value).values()):
        raise Inexpressible("it removes the setting: delete its fields from your objects")
    index, edge = frame.index, _edge_of(proposal.target, frame)
    proxies = _proxies(frame, int(index.edge_caller[edge]))
    match value:
        case RetryPolicy():
            _retries(host, value)
        case Timeout():
            _timeout(host, value)
        case BackendWeights():
            _weights(host, value)
        case OutlierDetection() | ConnectionLimits():
            _policy(host, value, proxies or 1)
        case InFlightCap():
            _cap(host, value, proxies or 1)
        case RateLimit():
            callee = _proxies(frame, int(index.edge_callee[edge]))
            _rate_limit(host, value, callee, int((index.api_edge == edge).sum()))
    host.taken[proposal.knob.value] = proposal.target


def _proxies(frame: MeshFrame, service: int) -> int | None:
    """Proxies of a service, None if that is not known."""
    replicas = float(frame.service.replicas[service])
    return max(1, round(replicas)) if math.isfinite(replicas) else None


def _retries(host: _Host, value: RetryPolicy) -> None:
    if value.attempts is not None:
        if value.attempts == 0 and "perTryTimeout" in host.entry.get("retries", {}):
            _note_left_out(host)
        host.change_entry(partial(routes.attempts_edits, value.attempts))
    if value.budget is not None:
        host.change_policy(partial(rule.budget_leaves, value.budget))
        host.note(
            "DestinationRule",
            "retryBudget needs Istio 1.27; up to 1.29 a budget alone, or one of a subset, is lost.",
        )


def _timeout(host: _Host, value: Timeout) -> None:
    attempts = host.entry.get("retries", {}).get("attempts")
    host.change_entry(partial(routes.timeout_edits, value))
    if value.per_try_s is not None and attempts == 0:
        _note_left_out(host)
    elif value.per_try_s is not None and attempts is None:
        host.note(
            "VirtualService",
            "attempts: 2 is Istio's default, named because perTryTimeout needs a number beside it.",
        )


def _note_left_out(host: _Host) -> None:
    host.note("VirtualService", "perTryTimeout is left out: Istio rejects it beside attempts: 0.")


def _weights(host: _Host, value: BackendWeights) -> None:
    strange = [name for name, _ in value.shares if not _SUBSET.fullmatch(name)]
    if strange:
        raise Inexpressible(f"weights are given to subsets, and {strange[0]} is not the name of one")
    if len(value.shares) < 2 or sum(share for _, share in value.shares) <= 0:
        raise Inexpressible("weights need two destinations and must not all be zero")
    numbers = largest_remainder([share for _, share in value.shares])
    host.entry["route"] = [
        {"destination": {"host": host.service.host, "subset": name}, "weight": number}
        for (name, _), number in zip(value.shares, numbers, strict=True)
    ]
    host.note("VirtualService", "The subsets must be named in this host's DestinationRule.")


def _policy(host: _Host, value: rule.PolicyValue, proxies: int) -> None:
    host.change_policy(partial(rule.policy_leaves, value, proxies))
    if not isinstance(value, OutlierDetection):
        host.note(
            "DestinationRule",
            "Limits count per client proxy. A subset's connectionPool replaces this one whole.",
        )
    elif value.max_ejection is not None and _share(host) is None:
        host.note(
            "DestinationRule",
            "To eject nobody the detectors are off: Istio reads maxEjectionPercent: 0 as 10 %.",
        )


def _share(host: _Host) -> object:
    return rule.leaf(rule.policy_of(host.destination_rule), rule.MAX_EJECTION)


def _cap(host: _Host, value: InFlightCap, proxies: int) -> None:
    high = rule.per_proxy(value.high, proxies)
    if value.default is not None:
        _policy(host, value, proxies)
    if high is not None:
        host.patches += high_priority_cap(host.service.host, high)
        host.note(
            "EnvoyFilter",
            "The HIGH cap counts requests of routes named `high` in this host's VirtualService.",
        )


def _rate_limit(host: _Host, value: RateLimit, proxies: int | None, apis: int) -> None:
    assert value.requests_per_second is not None
    if apis > 1:
        raise Inexpressible("several APIs enter here, and which requests belong to which Istio does not know")
    host.patches.append(inbound_rate_limit(token_bucket(value.requests_per_second / (proxies or 1))))
    known = f"{proxies} proxies were seen" if proxies else "the number of proxies is unknown (?), 1 is assumed"
    host.note(
        "EnvoyFilter", f"Buckets count per proxy: {value.requests_per_second:g} requests/s in all, {known}."
    )
    host.note("EnvoyFilter", "Add a workloadSelector, or every workload of the namespace is limited.")


def _manifests(host: _Host) -> list[Manifest]:
    found, name = [], host.service.host
    if host.entry:
        entry = {"route": [{"destination": {"host": name}}]} | host.entry
        host.note(
            "VirtualService",
            "Put these fields into your route of this host: spec.http is one list, replaced whole.",
        )
        found.append(_manifest(host, VIRTUAL_SERVICE, {"hosts": [name], "http": [entry]}))
    if host.destination_rule:
        host.note("DestinationRule", "Merge into your DestinationRule of this host: Istio does not merge two.")
        found.append(_manifest(host, DESTINATION_RULE, {"host": name} | host.destination_rule["spec"]))
    if host.patches:
        host.note("EnvoyFilter", "Waypoints ignore EnvoyFilters silently.")
        found.append(_manifest(host, ENVOY_FILTER, {"configPatches": host.patches}))
    return found


def _manifest(host: _Host, kind: Kind, spec: dict[str, Any]) -> Manifest:
    name = f"{host.service.name}-governor" if kind == ENVOY_FILTER else host.service.name
    metadata = {"name": name, "namespace": host.service.namespace}
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
    return Manifest(body, tuple(host.comments.get(kind.kind, ())))
