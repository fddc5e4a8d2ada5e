"""Envoy's bootstrap and discovery files for a scenario.

An edge is `out|<caller>|<callee>`: its listener, route configuration, cluster and load assignment all
carry that name. Statistics follow from it (see docs of the Envoy adapter for the names).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from governor.lab.documents import DataPlane, Scenario
from governor.lab.envoy_filters import (
    blind_rate_limit_extension,
    http_filters,
    limit_name,
    rate_limit_extension,
    shed_config,
)
from governor.lab.layout import INGRESS, Edge, Layout, entering_apis, file_stem, xds_directory
from governor.lab.xds_files import Resource, path_source, write_json, write_resources

API = "type.googleapis.com/envoy"
OPEN = 1_000_000
"""Circuit breakers wide open: Envoy's own defaults (1024, three retries) are active limits."""
RUNTIME_LAYER = "governor"
INITIAL_WEIGHT = 100
STATS_CONFIG: dict[str, Any] = {
    "use_all_default_tags": False,
    "stats_tags": [
        *(
            {"tag_name": f"envoy.{name}"}
            for name in (
                "cluster_name",
                "http_conn_manager_prefix",
                "listener_address",
                "response_code",
                "response_code_class",
                "virtual_host",
            )
        ),
        {"tag_name": "envoy.route", "regex": r"^vhost\..*?\.route\.((.*?)\.)upstream_rq"},
        {
            "tag_name": "envoy.local_http_ratelimit_prefix",
            "regex": r"^((.*?)\.)http_local_rate_limit\.",
        },
        {"tag_name": "envoy.rds_route_config", "regex": r"^http\..*?\.rds\.((.*?)\.)\w+?$"},
    ],
}
"""Envoy's default tags, except that route and limit names may hold dots, RDS names a `|`."""


def write_envoy_files(scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
    """Write all files of the lab's Envoys; returns the bootstrap path per Envoy (`mesh` or caller)."""
    bootstraps = {}
    for node, admin_port in layout.admin_ports.items():
        edges = [edge for edge in layout.edges if node in ("mesh", edge.caller)]
        home = xds_directory(directory, node)
        home.mkdir(parents=True, exist_ok=True)
        write_json(home / "bootstrap.json", bootstrap(layout.address, admin_port, home))
        write_resources(home / "cds.json", [cluster(scenario.data_plane, edge, home) for edge in edges])
        write_resources(home / "lds.json", [listener(scenario, layout.address, edge, home) for edge in edges])
        write_resources(home / "rtds.json", [runtime_layer({})])
        for edge in edges:
            _write_edge(scenario, layout, edge, home)
        bootstraps[node] = home / "bootstrap.json"
    return bootstraps


def _write_edge(scenario: Scenario, layout: Layout, edge: Edge, home: Path) -> None:
    stem = file_stem(edge.name)
    write_resources(home / "rds" / f"{stem}.json", [route_configuration(scenario, edge)])
    ports = layout.replica_ports[edge.callee]
    assignment = load_assignment(edge.name, layout.address, dict.fromkeys(ports, INITIAL_WEIGHT))
    write_resources(home / "eds" / f"{stem}.json", [assignment])
    limits = scenario.data_plane.static_rate_limit_rps
    for name in entering(scenario, edge):
        rate = limits.get(name) if isinstance(limits, dict) else None
        path = home / "ecds" / f"{file_stem(limit_name(name))}.json"
        write_resources(path, [rate_limit_extension(name, rate)])
    if edge.caller == INGRESS and isinstance(limits, float):
        write_resources(home / "ecds" / "limit.all.json", [blind_rate_limit_extension(limits)])


def entering(scenario: Scenario, edge: Edge) -> list[str]:
    """API classes whose requests come into the mesh through `edge`."""
    return [api.class_name for api in entering_apis(scenario, edge)]


def bootstrap(address: str, admin_port: int, home: Path) -> Resource:
    """Bootstrap: admin, dynamic listeners and clusters from files, the runtime layer `governor`."""
    layers = [
        {"name": "static", "static_layer": {}},
        {
            "name": RUNTIME_LAYER,
            "rtds_layer": {"name": RUNTIME_LAYER, "rtds_config": path_source(home / "rtds.json")},
        },
        {"name": "admin", "admin_layer": {}},
    ]
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": socket_address(address, admin_port)},
        "dynamic_resources": {
            "lds_config": path_source(home / "lds.json"),
            "cds_config": path_source(home / "cds.json"),
        },
        "layered_runtime": {"layers": layers},
        "stats_config": STATS_CONFIG,
    }


def runtime_layer(values: dict[str, Any]) -> Resource:
    """RTDS resource of the governor's layer with the keys and values given."""
    return {
        "@type": f"{API}.service.runtime.v3.Runtime",
        "name": RUNTIME_LAYER,
        "layer": values,
    }


def cluster(plane: DataPlane, edge: Edge, home: Path) -> Resource:
    """Cluster of an edge: EDS endpoints, statistics per endpoint, circuit breakers wide open."""
    caps = {"max_connections": OPEN, "max_pending_requests": OPEN, "max_retries": OPEN}
    inflight = (plane.static_max_requests or {}).get(edge.callee, OPEN)
    thresholds = []
    for priority in ("DEFAULT", "HIGH"):
        threshold: Resource = {"priority": priority, "max_requests": inflight, **caps}
        if plane.retry_budget is not None:
            threshold["retry_budget"] = {
                "budget_percent": {"value": plane.retry_budget.percent},
                "min_retry_concurrency": plane.retry_budget.min_concurrency,
            }
        thresholds.append(threshold)
    result: Resource = {
        "@type": f"{API}.config.cluster.v3.Cluster",
        "name": edge.name,
        "type": "EDS",
        "connect_timeout": "1s",
        "lb_policy": plane.lb_policy.upper(),
        "eds_cluster_config": {
            "service_name": edge.name,
            "eds_config": path_source(home / "eds" / f"{file_stem(edge.name)}.json"),
        },
        "circuit_breakers": {"thresholds": thresholds},
        "track_cluster_stats": {"per_endpoint_stats": True},
    }
    if plane.outlier_detection == "default":
        result["outlier_detection"] = {}
    return result


def load_assignment(name: str, address: str, weights: dict[int, int]) -> Resource:
    """EDS resource: one endpoint per port in `weights`, with its load balancing weight."""
    endpoints = [
        {"endpoint": {"address": socket_address(address, port)}, "load_balancing_weight": weight}
        for port, weight in weights.items()
    ]
    return {
        "@type": f"{API}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": endpoints}],
    }


def listener(scenario: Scenario, address: str, edge: Edge, home: Path) -> Resource:
    """Listener of an edge. Ports are never shared with another Envoy: `enable_reuse_port` is off."""
    manager: Resource = {
        "@type": f"{API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": edge.name,
        "generate_request_id": False,
        "rds": {
            "route_config_name": edge.name,
            "config_source": path_source(home / "rds" / f"{file_stem(edge.name)}.json"),
        },
        "http_filters": http_filters(scenario, entering(scenario, edge), home),
    }
    chain = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "@type": f"{API}.config.listener.v3.Listener",
        "name": edge.name,
        "address": socket_address(address, edge.port),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [chain]}],
    }


def route_configuration(scenario: Scenario, edge: Edge) -> Resource:
    """Routes of an edge: per API class at the ingress, per priority inside the mesh.

    Priority high becomes Envoy's route priority HIGH, so that each class has its own in-flight cap.
    With a static in-flight cap, which is blind to priority, all routes share DEFAULT.
    """
    plane = scenario.data_plane
    routes = []
    if edge.caller == INGRESS:
        entries = [api for api in scenario.apis if api.calls.service == edge.callee]
        for api in sorted(entries, key=lambda api: api.priority != "high"):
            match: Resource = {"path_separated_prefix": f"/{api.name}"}
            routes.append(_route(plane, edge, match, api.priority, api.class_name))
        host = INGRESS
    else:
        routes += [_route(plane, edge, {"prefix": "/"}, priority, None) for priority in ("high", "low")]
        host = edge.name
    return {
        "@type": f"{API}.config.route.v3.RouteConfiguration",
        "name": edge.name,
        "virtual_hosts": [{"name": host, "domains": ["*"], "routes": routes}],
    }


def _route(plane: DataPlane, edge: Edge, match: Resource, priority: str, class_name: str | None) -> Resource:
    action: Resource = {"cluster": edge.name, "timeout": _seconds(plane.timeout_s)}
    if priority == "high":
        exact = {"name": "x-priority", "string_match": {"exact": "high"}}
        match = {**match, "headers": [exact]}
        if plane.static_max_requests is None:
            action["priority"] = "HIGH"
    if plane.retries is not None and plane.retries.attempts > 0:
        action["retry_policy"] = retry_policy(plane)
    route: Resource = {"match": match, "route": action}
    if class_name is not None:
        descriptor = {"descriptor_key": "api", "descriptor_value": class_name}
        action["rate_limits"] = [{"actions": [{"generic_key": descriptor}]}]
        route |= {"name": class_name, "stat_prefix": class_name}
        route["typed_per_filter_config"] = {"shed": shed_config(class_name)}
    else:
        route["name"] = priority
    return route


def retry_policy(plane: DataPlane) -> Resource:
    """Envoy's retry policy."""
    assert plane.retries is not None
    names, codes = plane.retries.for_envoy()
    policy: Resource = {
        "retry_on": ",".join(names),
        "num_retries": plane.retries.attempts,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    if codes:
        policy["retriable_status_codes"] = codes
    if plane.retries.per_try_timeout_s is not None:
        policy["per_try_timeout"] = _seconds(plane.retries.per_try_timeout_s)
    return policy


def socket_address(address: str, port: int) -> Resource:
    """An Address: where a listener or an endpoint is."""
    return {"socket_address": {"address": address, "port_value": port}}


def _seconds(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
