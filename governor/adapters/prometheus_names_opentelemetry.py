"""Which row of a frame the labels of OpenTelemetry's HTTP metrics belong to.

Semantic conventions for HTTP metrics: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from governor.adapters.prometheus_names_entries import host_of
from governor.adapters.prometheus_names_services import LabelNames, ServiceNames
from governor.adapters.prometheus_queries import Labels

_ADDRESS = re.compile(r"[\d.]+|.*:.*")
"""An IP address: it does not say which service answers there."""
_KUBERNETES = re.compile(r"(?P<name>[^.]+)(\.(?P<namespace>[^.]+)(?P<service>\.svc(\.cluster\.local)?)?)?\.?")


class OpenTelemetryNames(ServiceNames):
    """A caller is its `service.name` and `service.namespace`, a callee what the caller calls it.

    Applications write hosts as they please: `reviews`, `reviews.shop` and `reviews.shop.svc` are all
    `reviews.shop.svc.cluster.local` to a caller in `shop`; `reviews.shop` only where some caller is in `shop`, as
    `example.com` looks the same. A host with other endings is one outside of the cluster.
    """

    def __init__(
        self,
        labels: LabelNames,
        gateways: str,
        entry: str,
        seen: Iterable[Labels],
        workloads: Iterable[Labels] = (),
    ) -> None:
        self._labels = labels
        given = list(seen)
        self._namespaces = {namespace for row in given if (namespace := self._pair("caller", row)[1])}
        super().__init__(labels, gateways, entry, given, workloads)

    def callee(self, labels: Labels) -> str | None:
        """Host from `server.address`; None for IP addresses."""
        address = labels.get("server_address", "")
        if not address or _ADDRESS.fullmatch(address):
            return None
        match = _KUBERNETES.fullmatch(address)
        if match is None:
            return address
        namespace = match["namespace"] or self._pair("caller", labels)[1]
        if match["service"] or namespace in self._namespaces:
            return host_of(match["name"], namespace)
        return address

    def api(self, labels: Labels) -> str | None:
        """The API that enters by this edge: a call without one goes elsewhere, it is not the caller's own API."""
        return self._entries.api(self.edge(labels))

    def _pair(self, what: str, labels: Labels) -> tuple[str, str]:
        """Also from `job`, which Prometheus makes of both: `<service.namespace>/<service.name>`."""
        name, namespace = super()._pair(what, labels)
        space, slash, job = labels.get("job", "").rpartition("/")
        if not name and slash:
            return job, namespace or space
        return name, namespace
