"""Bootstrap of a stock Envoy that has its configuration from Envoy Gateway over ADS.

Source: Envoy, xDS protocol; Envoy Gateway serves the Gateway that the node's cluster names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from governor.lab.bed.daemon import ADDRESS
from governor.lab.bed.envoy_gateway import DISCOVERY_PORT
from governor.lab.envoy_config import API, STATS_CONFIG

Resource = dict[str, Any]
CLUSTER = r"^cluster\.((.+?/rule/\d+(?:/backend/\d+)?|[^.]+?)\.)"
"""A cluster is named after its route, whose name may hold dots."""


def bootstrap(name: str, namespace: str, admin: tuple[str, int], files: tuple[Path, Path, Path]) -> Resource:
    """Bootstrap of the Envoy of Gateway `name`; `files` are its certificate and key, and whom it trusts."""
    host, port = admin
    ads: Resource = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": f"{name}.{namespace}", "cluster": f"{namespace}/{name}"},
        "admin": {"address": {"socket_address": {"address": host, "port_value": port}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds_cluster"}}],
            },
            "lds_config": ads,
            "cds_config": ads,
        },
        "static_resources": {"clusters": [_discovery(files)]},
        "stats_config": _stats(),
    }


def _stats() -> Resource:
    tags = [tag for tag in STATS_CONFIG["stats_tags"] if tag["tag_name"] != "envoy.cluster_name"]
    named = [{"tag_name": "envoy.cluster_name", "regex": CLUSTER}, *tags]
    return {**STATS_CONFIG, "stats_tags": named}


def _discovery(files: tuple[Path, Path, Path]) -> Resource:
    certificate, key, authority = (str(path) for path in files)
    endpoint = {"address": {"socket_address": {"address": ADDRESS, "port_value": DISCOVERY_PORT}}}
    tls = {
        "@type": f"{API}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            # Envoy offers 1.2 at most by itself, and Envoy Gateway takes 1.3 only.
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
            ],
            "validation_context": {"trusted_ca": {"filename": authority}},
        },
    }
    return {
        "name": "xds_cluster",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{API}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "load_assignment": {
            "cluster_name": "xds_cluster",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }
