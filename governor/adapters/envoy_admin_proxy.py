"""Whose clusters an Envoy's are: what its own node says of it, as Istio's agents and the lab write it.

Source: Istio, `sidecar~<ip>~<pod>.<namespace>~<domain>` as the node id, and metadata of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from governor.adapters.envoy_admin_names import edge_of_cluster, service_of_pod
from governor.observe.index import EdgeName

SERVER_INFO = "/server_info"
CLUSTERS = "/config_dump?resource=dynamic_active_clusters&mask=cluster.name"
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

    def owner(self, cluster: str) -> Owner | None:
        """Owner of a cluster's numbers; None for clusters that carry no requests of users."""
        parts = cluster.split("|")
        if self.caller is not None and parts[0] == "outbound" and len(parts) == 4 and parts[3]:
            edge = EdgeName(f"{self.caller}|{parts[3]}", self.caller, parts[3])
            return Owner(edge, parts[2] or None)
        plain = edge_of_cluster(cluster)
        return None if plain is None else Owner(plain)


@dataclass(frozen=True)
class Node:
    """What an Envoy's node says of the workload that it stands beside; empty for an Envoy that is not Istio's."""

    canonical: str = ""
    """The workload's canonical service."""
    namespace: str = ""
    domain: str = ""
    """What follows a service's name in a host of the namespace."""

    def proxy(self, hosts: Collection[str]) -> Proxy:
        """The Envoy in a mesh whose services have `hosts`.

        Its caller is called by its own host if that is one of them, else by `<canonical service>.<namespace>`, as
        names from Istio's metrics are.
        """
        if not self.canonical:
            return Proxy()
        own = f"{self.canonical}.{self.domain}"
        return Proxy(own if own in hosts else f"{self.canonical}.{self.namespace}")


def node_in(info: Mapping[str, Any]) -> Node:
    """The node in an answer of SERVER_INFO."""
    node = info.get("node", {})
    parts = str(node.get("id", "")).split("~")
    if len(parts) != 4 or parts[0] not in {"sidecar", "router"}:
        return Node()
    pod, _, namespace = parts[2].rpartition(".")
    labels = node.get("metadata", {}).get("LABELS", {})
    canonical = next((labels[name] for name in _CANONICAL if labels.get(name)), service_of_pod(pod))
    return Node(canonical, namespace, parts[3])


def hosts_in(document: Mapping[str, Any]) -> set[str]:
    """Hosts of Istio's outbound clusters in an answer of CLUSTERS."""
    names = [config["cluster"]["name"] for config in document.get("configs", []) if "cluster" in config]
    return {name.split("|")[3] for name in names if name.startswith("outbound|") and name.count("|") == 3}
