"""Which API enters through which cluster: read from Envoy's own route configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from governor.adapters.envoy_files_admin import EnvoyAdmin

RESOURCES = ("dynamic_route_configs", "static_route_configs")


def read_routes(admin: EnvoyAdmin) -> dict[tuple[str, str], str]:
    """(virtual host, stat_prefix of the route) to cluster; routes without a stat_prefix have no counters."""
    found: dict[tuple[str, str], str] = {}
    for resource in RESOURCES:
        found.update(routes_in(admin.json_if_any(f"/config_dump?resource={resource}") or {}))
    return found


def routes_in(document: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """Pairs of (virtual host, stat_prefix) and cluster in one answer of /config_dump."""
    for config in document.get("configs", []):
        for host in config.get("route_config", {}).get("virtual_hosts", []):
            for route in host.get("routes", []):
                cluster = _cluster(route.get("route", {}))
                if cluster and route.get("stat_prefix"):
                    yield (host.get("name", ""), route["stat_prefix"]), cluster


def _cluster(action: dict[str, Any]) -> str | None:
    """The cluster a route leads to; of several weighted ones the first."""
    if "cluster" in action:
        return str(action["cluster"])
    weighted = action.get("weighted_clusters", {}).get("clusters", [])
    return str(weighted[0]["name"]) if weighted else None
