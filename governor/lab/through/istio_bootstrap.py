"""Bootstrap of a stock Envoy that has its configuration from istiod over ADS.

Source: Envoy, xDS protocol; Istio's own bootstrap template for the names of statistics.
"""

from __future__ import annotations

from typing import Any

from governor.lab.bed.daemon import ADDRESS, DOMAIN
from governor.lab.bed.istiod import VERSION
from governor.lab.envoy_config import API

Resource = dict[str, Any]
STATS_CONFIG = {
    "use_all_default_tags": False,
    "stats_tags": [
        # istiod ends each prefix with `;`, for its names hold dots.
        {"tag_name": "cluster_name", "regex": r"^cluster\.((.+?);\.)"},
        {"tag_name": "http_conn_manager_prefix", "regex": r"^http\.((.+?);\.)"},
        {"tag_name": "envoy.virtual_host", "regex": r"^vhost\.((.+?)\.)(?:route|vcluster)\."},
        {"tag_name": "envoy.route", "regex": r"^vhost\..*?\.route\.((.*?)\.)upstream_rq"},
        {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
        {"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"},
        {"tag_name": "envoy.local_http_ratelimit_prefix", "regex": r"^((.*?)\.)http_local_rate_limit\."},
    ],
}
"""As Istio's own proxies name things; routes' prefixes may hold dots, too."""


def bootstrap(name: str, namespace: str, address: str, admin: tuple[str, int], discovery_port: int) -> Resource:
    """Bootstrap of the Envoy beside workload `name`; `address` must be no workload's and no other Envoy's.

    istiod takes a proxy with a workload's address for that workload, and its labels for the proxy's.
    """
    host, port = admin
    ads: Resource = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {
            "id": f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.{DOMAIN}",
            "cluster": f"{name}.{namespace}",
            "metadata": {
                "ISTIO_VERSION": VERSION,
                "NAMESPACE": namespace,
                "LABELS": {"app": name},
                "CLUSTER_ID": "Kubernetes",
                "INTERCEPTION_MODE": "NONE",
            },
        },
        "admin": {"address": _socket(host, port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {"clusters": [_discovery(discovery_port)]},
        "stats_config": STATS_CONFIG,
    }


def _discovery(port: int) -> Resource:
    options = f"{API}.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(ADDRESS, port)}}]}],
        },
    }


def _socket(address: str, port: int) -> Resource:
    return {"socket_address": {"address": address, "port_value": port}}
