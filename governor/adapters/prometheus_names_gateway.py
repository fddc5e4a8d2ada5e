"""Which row of a frame the labels of Envoy Gateway's series belong to.

A cluster is a rule of a route: `httproute/<namespace>/<name>/rule/<number>`. Its services are told only where the
EnvoyProxy's `telemetry.metrics.clusterStatName` ends in `/%BACKEND_REFS%`: `/<namespace>/<service>|...` follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from governor.adapters.prometheus_names_entries import host_of
from governor.adapters.prometheus_names_services import LabelNames, ServiceNames
from governor.adapters.prometheus_queries import Labels

_RULE = re.compile(
    r"(?P<rule>(http|grpc)route/[^/]+/[^/]+/rule/[^/]+)(?P<part>/backend/\d+)?(/(?P<services>.+/.+))?"
)


class GatewayNames(ServiceNames):
    """An edge leads from a gateway to the first service of a rule, or to the rule if its services are not named.

    Rules of one gateway that lead to the same service are one edge. A backend is an endpoint, by its address.
    """

    def __init__(self, labels: LabelNames, entry: str, seen: Iterable[Labels]) -> None:
        super().__init__(labels, ".*", entry, seen)

    def callee(self, labels: Labels) -> str | None:
        """Host of the service, or the rule's own name."""
        match = _RULE.fullmatch(labels.get("envoy_cluster_name", ""))
        if match is None:
            return None
        if match["services"] is None:
            return match["rule"]
        namespace, _, name = match["services"].partition("|")[0].rpartition("/")
        return host_of(name, namespace)
