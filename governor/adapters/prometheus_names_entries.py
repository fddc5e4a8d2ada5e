"""What the names of several meshes share: hosts, and the APIs that enter through gateways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from governor.observe.index import EdgeName

NOBODY = frozenset({"", "unknown", "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"})
"""Names of what is no service."""


class Entries:
    """An API for each host that a gateway leads to; told apart by the gateway where several do."""

    def __init__(self, edges: Iterable[EdgeName]) -> None:
        found = sorted(set(edges))
        hosts = Counter(edge.callee for edge in found)
        self._apis = {
            edge: edge.callee if hosts[edge.callee] == 1 else f"{edge.caller}/{edge.callee}" for edge in found
        }

    @property
    def edges(self) -> Mapping[str, str]:
        """The entry edge of each API."""
        return {api: edge.name for edge, api in self._apis.items()}

    def api(self, edge: EdgeName | None) -> str | None:
        """The API that enters by `edge`."""
        return None if edge is None else self._apis.get(edge)

    def only_api_of(self, host: str | None) -> str | None:
        """The API of a host that one gateway leads to: what its own proxies count is that API's."""
        return host if host in self._apis.values() else None


def host_of(name: str, namespace: str) -> str:
    """Host of a Kubernetes service, as control planes know it."""
    return f"{name}.{namespace}.svc.cluster.local"


def best_host(name: str, hosts: Iterable[str]) -> str:
    """Of several hosts that lead to one workload the one of its own name, else the first by name."""
    return min(hosts, key=lambda host: (host.partition(".")[0] != name, host))
