"""Which row of a frame the labels of a series belong to: one class for each dialect."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Protocol

from governor.adapters.envoy_admin_names import LIMIT_PREFIX, edge_of_cluster
from governor.adapters.prometheus_queries import Dialect, Labels
from governor.domain import Gap, GapReason
from governor.observe.index import EdgeName

NOBODY = frozenset({"", "unknown", "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster"})
"""Istio's names of what is no service."""


class Names(Protocol):
    """Names of rows from labels."""

    def edge(self, labels: Labels) -> EdgeName | None:
        """The edge, None for series that carry no requests of users."""

    def backend(self, labels: Labels) -> str | None:
        """Name of the backend within its edge."""

    def service(self, labels: Labels) -> str | None:
        """Name of the service."""

    def apis(self, seen: Iterable[Labels]) -> tuple[dict[str, str], list[Gap]]:
        """Entry edge of each API, and gaps for those whose entry cannot be known."""

    def api(self, labels: Labels) -> str | None:
        """Name of the API; only after `apis`."""


def names_of(dialect: Dialect, seen: Iterable[Labels]) -> Names:
    """The names of `dialect`, learned from the labels of the edges `seen`."""
    if dialect.name == "istio":
        return IstioNames(dialect.gateways, seen)
    return EnvoyNames(dialect.entry, seen)


class EnvoyNames:
    """Names in plain Envoy's metrics: the cluster is the edge.

    Prometheus does not know which cluster a route leads to. An API enters by the only edge of its virtual host
    (`out|<virtual host>|...`), or else by the one whose callee the route's name begins with, as in `shop.high`.
    """

    def __init__(self, entry: str, seen: Iterable[Labels]) -> None:
        self._entry = entry
        self._routes: dict[tuple[str, str], str] = {}
        self._edges = [edge for labels in seen if (edge := self.edge(labels)) is not None]

    def edge(self, labels: Labels) -> EdgeName | None:
        """The cluster."""
        return edge_of_cluster(labels.get("envoy_cluster_name", ""))

    def backend(self, labels: Labels) -> str | None:
        """The endpoint's address."""
        return labels.get("envoy_endpoint_address")

    def service(self, labels: Labels) -> str | None:
        """What the service calls itself, or its workload."""
        given = (labels.get(name) for name in ("service", "service_name", "workload"))
        return next((name for name in given if name), None)

    def apis(self, seen: Iterable[Labels]) -> tuple[dict[str, str], list[Gap]]:
        """Routes that counted requests, and those of which only the limit has counted any."""
        given = list(seen)
        routes = {(row["envoy_virtual_host"], row["envoy_route"]) for row in given if row.get("envoy_route")}
        named = {route for _, route in routes}
        hosts = {host for host, _ in routes}
        host = next(iter(hosts)) if len(hosts) == 1 else self._entry
        for row in given:
            limited = _limited(row)
            if limited and limited not in named:
                routes.add((host, limited))
        names = Counter(route for _, route in routes)
        self._routes = {key: key[1] if names[key[1]] == 1 else "/".join(key) for key in sorted(routes)}
        entries: dict[str, str] = {}
        gaps = []
        for (host, route), api in self._routes.items():
            edge = self._entry_of(host, route)
            if edge is None:
                gaps.append(Gap("api", api, GapReason.MISSING, self._why(host, route)))
            else:
                entries[api] = edge
        return entries, gaps

    def api(self, labels: Labels) -> str | None:
        """The route, or what the name of its limit says."""
        limited = _limited(labels)
        if limited:
            return limited
        return self._routes.get((labels.get("envoy_virtual_host", ""), labels.get("envoy_route", "")))

    def _entry_of(self, host: str, route: str) -> str | None:
        into = [edge for edge in self._edges if edge.caller == host]
        if len(into) > 1:
            into = [edge for edge in into if edge.callee == route.partition(".")[0]]
        return into[0].name if len(into) == 1 else None

    def _why(self, host: str, route: str) -> str:
        count = sum(edge.caller == host for edge in self._edges)
        if count == 0:
            return f"no cluster out|{host}|... is there, so its entry is not known"
        return (
            f"{count} clusters lead out of virtual host {host}, and none has {route.partition('.')[0]} for its "
            "callee: name the route after the service it leads to, or use the source `envoy`, which reads routes"
        )


class IstioNames:
    """Names in Istio's metrics: a callee is its host, a caller the host that leads to its own canonical service.

    Labels do not give a caller's host, so it is looked up among the callees; who is nobody's callee, such as a
    gateway, is called `<canonical service>.<namespace>`. An API is a callee of a gateway.
    """

    def __init__(self, gateways: str, seen: Iterable[Labels]) -> None:
        self._gateway = re.compile(gateways)
        self._canonical: dict[tuple[str, str], str] = {}
        self._gateways: set[tuple[str, str]] = set()
        self._apis: dict[EdgeName, str] = {}
        hosts: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        given = list(seen)
        for row in given:
            caller = (row.get("source_canonical_service", ""), row.get("source_workload_namespace", ""))
            self._canonical[(row.get("source_workload", ""), caller[1])] = caller[0]
            if self._gateway.fullmatch(row.get("source_workload", "")):
                self._gateways.add(caller)
            callee = row.get("destination_canonical_service", "")
            space = row.get("destination_workload_namespace", "")
            host = row.get("destination_service", "")
            if callee not in NOBODY and host not in NOBODY:
                hosts[(callee, space)].add(host)
                self._canonical[(row.get("destination_workload", ""), space)] = callee
        self._host = {key: _best_host(key[0], found) for key, found in hosts.items()}
        self._edges = {
            edge: (row.get("source_canonical_service", ""), row.get("source_workload_namespace", ""))
            for row in given
            if (edge := self.edge(row)) is not None
        }

    def edge(self, labels: Labels) -> EdgeName | None:
        """Caller and host; for a proxy's own counters from its workload and the host in the cluster's name."""
        cluster = labels.get("envoy_cluster_name")
        if cluster is None:
            space = labels.get("source_workload_namespace", "")
            canonical, host = labels.get("source_canonical_service", ""), labels.get("destination_service", "")
        else:
            parts = cluster.split("|")
            if len(parts) != 4:
                return None
            space, host = labels.get("namespace", ""), parts[3]
            canonical = self._canonical.get((labels.get("workload", ""), space), "")
        if host in NOBODY or canonical == "":
            return None
        caller = self._service((canonical, space))
        return EdgeName(f"{caller}|{host}", caller, host)

    def backend(self, labels: Labels) -> str | None:
        """The version."""
        version = labels.get("destination_version", "")
        return None if version in NOBODY else version

    def service(self, labels: Labels) -> str | None:
        """The host, or that of the workload."""
        host = labels.get("destination_service")
        if host is not None:
            return None if host in NOBODY else host
        space = labels.get("namespace", "")
        canonical = self._canonical.get((labels.get("workload", ""), space))
        return self._service((canonical, space)) if canonical else None

    def apis(self, seen: Iterable[Labels]) -> tuple[dict[str, str], list[Gap]]:
        """One for each host that a gateway leads to; told apart by the gateway where several do.

        The edges say it all: `seen` is for dialects that count APIs apart.
        """
        del seen
        entries = [edge for edge, caller in self._edges.items() if caller in self._gateways]
        hosts = Counter(edge.callee for edge in entries)
        self._apis = {
            edge: edge.callee if hosts[edge.callee] == 1 else f"{edge.caller}/{edge.callee}" for edge in entries
        }
        return {api: edge.name for edge, api in self._apis.items()}, []

    def api(self, labels: Labels) -> str | None:
        """The API that enters by this edge."""
        edge = self.edge(labels)
        return self._apis.get(edge) if edge is not None else None

    def _service(self, key: tuple[str, str]) -> str:
        return self._host.get(key, ".".join(part for part in key if part))


def _limited(labels: Labels) -> str | None:
    prefix = labels.get("envoy_local_http_ratelimit_prefix", "")
    return prefix.removeprefix(LIMIT_PREFIX) if prefix.startswith(LIMIT_PREFIX) else None


def _best_host(canonical: str, hosts: set[str]) -> str:
    """Of several hosts that lead to one service the one of its own name, else the first by name."""
    return min(hosts, key=lambda host: (host.partition(".")[0] != canonical, host))


def row_numbers(names: Iterable[str]) -> Mapping[str, int]:
    """Position of each name."""
    return {name: i for i, name in enumerate(names)}
