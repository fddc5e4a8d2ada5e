"""Bootstrap of a stock Envoy that has its configuration from a control plane over ADS.

Source: Envoy, xDS protocol.
"""

from __future__ import annotations

from typing import Any

from governor.lab.bed.daemon import ADDRESS
from governor.lab.envoy_config import API, socket_address
from governor.lab.xds_files import Resource

_PROTOCOL = "extensions.upstreams.http.v3.HttpProtocolOptions"


def served_bootstrap(node: Resource, admin: tuple[str, int], discovery: Resource, stats: Resource) -> Resource:
    """Bootstrap of the Envoy that tells it is `node`, and is served by the cluster `discovery`."""
    ads: Resource = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": node,
        "admin": {"address": socket_address(*admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": discovery["name"]}}],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {"clusters": [discovery]},
        "stats_config": stats,
    }


def discovery_cluster(name: str, port: int, **more: Any) -> Resource:
    """The control plane, which speaks gRPC on `port` of loopback; `more` are further fields of the cluster."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            f"envoy.{_PROTOCOL}": {
                "@type": f"{API}.{_PROTOCOL}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(ADDRESS, port)}}]}],
        },
        **more,
    }
