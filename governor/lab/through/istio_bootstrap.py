"""Bootstrap of an Envoy that istiod serves.

Source: Istio's own bootstrap template, for the names of statistics.
"""

from __future__ import annotations

from governor.lab.bed.daemon import DOMAIN
from governor.lab.bed.istiod import VERSION
from governor.lab.through.bootstrap import discovery_cluster, served_bootstrap
from governor.lab.xds_files import Resource

STATS_CONFIG: Resource = {
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
    node: Resource = {
        "id": f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.{DOMAIN}",
        "cluster": f"{name}.{namespace}",
        "metadata": {
            "ISTIO_VERSION": VERSION,
            "NAMESPACE": namespace,
            "LABELS": {"app": name},
            "CLUSTER_ID": "Kubernetes",
            "INTERCEPTION_MODE": "NONE",
        },
    }
    return served_bootstrap(node, admin, discovery_cluster("xds-grpc", discovery_port), STATS_CONFIG)
