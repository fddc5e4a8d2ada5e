"""Which API enters through which cluster: read from Envoy's own route configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests

from governor.errors import SourceRefused, SourceUnreachable

RESOURCES = ("dynamic_route_configs", "static_route_configs")


def read_routes(session: requests.Session, admin_url: str, timeout_s: float) -> dict[tuple[str, str], str]:
    """(virtual host, stat_prefix of the route) to cluster; routes without a stat_prefix have no counters."""
    found: dict[tuple[str, str], str] = {}
    for resource in RESOURCES:
        url = f"{admin_url}/config_dump?resource={resource}"
        try:
            answer = session.get(url, timeout=timeout_s)
            if answer.status_code == requests.codes.not_found:  # Envoy's answer when there is none of this kind
                continue
            answer.raise_for_status()
            document = answer.json()
        except requests.JSONDecodeError as error:
            raise SourceRefused(f"{url} does not answer with JSON: is this Envoy's admin address?") from error
        except requests.RequestException as error:
            raise SourceUnreachable(f"{url}: {error}") from error
        found.update(routes_in(document))
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
