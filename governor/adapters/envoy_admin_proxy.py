"""Whose clusters an Envoy's are: what its own node says of it, as Istio's agents and Envoy Gateway write it.

Source: Istio, `sidecar~<ip>~<pod>.<namespace>~<domain>` as the node id, and metadata of the bootstrap; Envoy
Gateway, `<namespace>/<gateway>` as the node's cluster, and metadata of its clusters' endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from governor.adapters.envoy_admin_names import edge_of_cluster, service_of_pod
from governor.observe.index import EdgeName

SERVER_INFO = "/server_info"
CLUSTERS = "/config_dump?resource=dynamic_active_clusters&mask=cluster.name,cluster.load_assignment.endpoints"
_ROUTE = re.compile(r"(http|grpc)route/")
_CANONICAL = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
"""Labels that name a workload's service, the first that is there (Istio, canonical service)."""


class Owner(NamedTuple):
    """What a cluster's numbers belong to."""

    edge: EdgeName
    subset: str | None = None
    """The backend of the edge that the cluster is all of; None where it is the whole edge."""


@dataclass(frozen=True)
class Proxy:
    """One Envoy; `caller` is the service that it stands beside, None where clusters say it themselves."""

    caller: str | None = None
    owners: Mapping[str, Owner] = field(default_factory=dict)
    """Of clusters whose names do not say it."""

    def owner(self, cluster: str) -> Owner | None:
        """Owner of a cluster's numbers; None for clusters that carry no requests of users."""
        # Istio ends a cluster's name in statistics with `;`, and no tag takes it off where endpoints are counted.
        cluster = cluster.removesuffix(";")
        if cluster in self.owners:
            return self.owners[cluster]
        parts = cluster.split("|")
        if self.caller is not None and parts[0] == "outbound" and len(parts) == 4 and parts[3]:
            return Owner(edge_between(self.caller, parts[3]), parts[2] or None)
        plain = edge_of_cluster(cluster)
        return None if plain is None else Owner(plain)


@dataclass(frozen=True)
class Node:
    """What an Envoy's node says of the workload that it stands beside; empty for an Envoy that is no mesh's."""

    canonical: str = ""
    """The workload's canonical service, or the gateway."""
    namespace: str = ""
    domain: str = ""
    """What follows a service's name in a host of the namespace; none for a gateway, which has no host."""

    def proxy(self, hosts: Collection[str], owners: Mapping[str, tuple[str, str | None]]) -> Proxy:
        """The Envoy in a mesh whose services have `hosts`; `owners` gives callee and backend by cluster.

        Its caller is called by its own host if that is one of them, else by `<canonical service>.<namespace>`, as
        names from Istio's metrics are.
        """
        if not self.canonical:
            return Proxy()
        own = f"{self.canonical}.{self.domain}"
        caller = own if own in hosts else f"{self.canonical}.{self.namespace}"
        found = {name: Owner(edge_between(caller, callee), part) for name, (callee, part) in owners.items()}
        return Proxy(caller, found)


def edge_between(caller: str, host: str) -> EdgeName:
    """The edge from a caller to a host."""
    return EdgeName(f"{caller}|{host}", caller, host)


def node_in(info: Mapping[str, Any]) -> Node:
    """The node in an answer of SERVER_INFO: one of Istio's, or `<namespace>/<gateway>` of Envoy Gateway's."""
    node = info.get("node", {})
    parts = str(node.get("id", "")).split("~")
    namespace, _, gateway = str(node.get("cluster", "")).partition("/")
    if namespace and gateway:
        return Node(gateway, namespace)
    if len(parts) != 4 or parts[0] not in {"sidecar", "router"}:
        return Node()
    pod, _, namespace = parts[2].rpartition(".")
    labels = node.get("metadata", {}).get("LABELS", {})
    canonical = next((labels[name] for name in _CANONICAL if labels.get(name)), service_of_pod(pod))
    return Node(canonical, namespace, parts[3])


def hosts_in(document: Mapping[str, Any]) -> set[str]:
    """Hosts of Istio's outbound clusters in an answer of CLUSTERS."""
    names = [cluster["name"] for cluster in _clusters(document)]
    return {name.split("|")[3] for name in names if name.startswith("outbound|") and name.count("|") == 3}


def services_in(document: Mapping[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Callee and backend of each of Envoy Gateway's clusters in an answer of CLUSTERS.

    A rule's callee is its first service's host; a backend is a service, where it has a cluster of its own. What
    does not say which service it is of is left out.
    """
    found: dict[str, tuple[str, str]] = {}
    first: dict[str, str] = {}
    for cluster in sorted(_clusters(document), key=lambda cluster: str(cluster["name"])):
        service = _service(cluster)
        if _ROUTE.match(cluster["name"]) and service is not None:
            name, namespace = service
            found[cluster["name"]] = service
            first.setdefault(_rule(cluster["name"]), f"{name}.{namespace}.svc.cluster.local")
    return {
        cluster: (first[_rule(cluster)], name if "/backend/" in cluster else None)
        for cluster, (name, _) in found.items()
    }


def _clusters(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [config["cluster"] for config in document.get("configs", []) if "cluster" in config]


def _rule(cluster: str) -> str:
    return cluster.partition("/backend/")[0]


def _service(cluster: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name and namespace of the Service that a cluster's first endpoints are of."""
    for locality in cluster.get("load_assignment", {}).get("endpoints", ()):
        said = locality.get("metadata", {}).get("filter_metadata", {}).get("envoy-gateway", {})
        for resource in said.get("resources", ()):
            if resource.get("kind") == "Service":
                return resource["name"], resource["namespace"]
    return None
