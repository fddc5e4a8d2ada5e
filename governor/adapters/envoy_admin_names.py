"""Names of services and edges from the names that Envoy, Kubernetes and OpenTelemetry give."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from governor.adapters.dialects import dialect
from governor.domain import MeshIndex
from governor.observe.index import EdgeName

LIMIT_PREFIX = "limit."
"""A rate limit's filter, ECDS resource and stat_prefix are called this and the API's name."""
ELSEWHERE = "envoy"
"""Caller of a cluster whose name does not say who calls."""
_POD = re.compile(r"^(?P<service>.+?)(-[0-9a-f]{6,10}-[0-9a-z]{5}|-[0-9]+)$")


@cache
def _internal() -> re.Pattern[str]:
    return re.compile(dialect("admin")["internal_clusters"])


def edge_of_cluster(cluster: str) -> EdgeName | None:
    """The edge that a cluster stands for; None for clusters that carry no requests of users.

    `out|caller|callee` names both ends; Istio's `outbound|port|subset|host` names the callee, a subset apart
    from the others; any other cluster is a callee of the node "envoy".
    """
    parts = cluster.split("|")
    if parts[0] == "out" and len(parts) == 3 and all(parts):
        return EdgeName(cluster, parts[1], parts[2])
    if parts[0] == "outbound" and len(parts) == 4 and parts[3]:
        subset = f"/{parts[2]}" if parts[2] else ""
        return EdgeName(cluster, ELSEWHERE, parts[3] + subset)
    return None if _internal().match(cluster) else EdgeName(cluster, ELSEWHERE, cluster)


def service_of_pod(pod: str) -> str:
    """Name of the workload: a pod's name without the ordinal of a StatefulSet or the hashes of a Deployment."""
    found = _POD.match(pod)
    return found["service"] if found else pod


def services_by_name(services: Sequence[str]) -> dict[str, int]:
    """Positions of services by name, and by the first part of a cluster's host where no other begins so.

    A workload's own page gives the short name; the proxies of its callers give the host.
    """
    short = Counter(name.partition(".")[0] for name in services if ".svc" in name)
    found = {name.partition(".")[0]: i for i, name in enumerate(services) if ".svc" in name}
    found = {name: i for name, i in found.items() if short[name] == 1}
    return found | {name: i for i, name in enumerate(services)}


def callees_by_backend(index: MeshIndex) -> dict[str, int]:
    """Positions of the callee of each backend, where backends of that name have one callee alone.

    Where a gateway splits an edge between Services, the work that is sent to its callee is done by all of them.
    """
    found: dict[str, set[int]] = {}
    for name, edge in zip(index.backends, index.backend_edge.tolist(), strict=True):
        found.setdefault(name, set()).add(int(index.edge_callee[edge]))
    return {name: next(iter(callees)) for name, callees in found.items() if len(callees) == 1}
