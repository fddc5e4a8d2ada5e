"""Which row of a frame the labels of plain Envoy's series belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from governor.adapters.envoy_admin_names import LIMIT_PREFIX, edge_of_cluster
from governor.adapters.prometheus_queries import Labels
from governor.domain import Gap, GapReason
from governor.observe.index import EdgeName


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

    def callee(self, labels: Labels) -> str | None:
        """What the cluster leads to."""
        edge = self.edge(labels)
        return None if edge is None else edge.callee

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


def _limited(labels: Labels) -> str | None:
    prefix = labels.get("envoy_local_http_ratelimit_prefix", "")
    return prefix.removeprefix(LIMIT_PREFIX) if prefix.startswith(LIMIT_PREFIX) else None
