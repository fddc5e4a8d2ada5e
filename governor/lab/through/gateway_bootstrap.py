"""Bootstrap of an Envoy that Envoy Gateway serves: it is of the Gateway that its node's cluster names."""

from __future__ import annotations

from pathlib import Path

from governor.lab.bed.envoy_gateway import DISCOVERY_PORT
from governor.lab.envoy_config import API, STATS_CONFIG
from governor.lab.through.bootstrap import discovery_cluster, served_bootstrap
from governor.lab.xds_files import Resource

CLUSTER = r"^cluster\.((.+?/rule/\d+(?:/backend/\d+)?|[^.]+?)\.)"
"""A cluster is named after its route, whose name may hold dots."""


def bootstrap(name: str, namespace: str, admin: tuple[str, int], files: tuple[Path, Path, Path]) -> Resource:
    """Bootstrap of the Envoy of Gateway `name`; `files` are its certificate and key, and whom it trusts."""
    node = {"id": f"{name}.{namespace}", "cluster": f"{namespace}/{name}"}
    return served_bootstrap(node, admin, _discovery(files), _stats())


def _stats() -> Resource:
    tags = [tag for tag in STATS_CONFIG["stats_tags"] if tag["tag_name"] != "envoy.cluster_name"]
    named = [{"tag_name": "envoy.cluster_name", "regex": CLUSTER}, *tags]
    return {**STATS_CONFIG, "stats_tags": named}


def _discovery(files: tuple[Path, Path, Path]) -> Resource:
    certificate, key, authority = (str(path) for path in files)
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
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return discovery_cluster("xds_cluster", DISCOVERY_PORT, transport_socket=socket)
