"""Which row of a frame the labels of Istio's series belong to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from governor.adapters.prometheus_names_entries import NOBODY, Entries, best_host
from governor.adapters.prometheus_queries import Labels
from governor.domain import Gap
from governor.observe.index import EdgeName


class IstioNames:
    """Names in Istio's metrics: a callee is its host, a caller the host that leads to its own canonical service.

    Labels do not give a caller's host, so it is looked up among the callees; who is nobody's callee, such as a
    gateway, is called `<canonical service>.<namespace>`. An API is a callee of a gateway.
    """

    def __init__(self, gateways: str, seen: Iterable[Labels]) -> None:
        self._gateway = re.compile(gateways)
        self._canonical: dict[tuple[str, str], str] = {}
        self._gateways: set[tuple[str, str]] = set()
        hosts: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        given = list(seen)
        for row in given:
            caller = (row.get("source_canonical_service", ""), row.get("source_workload_namespace", ""))
            self._canonical[(row.get("source_workload", ""), caller[1])] = caller[0]
            if self._gateway.fullmatch(row.get("source_workload", "")):
                self._gateways.add(caller)
            callee = row.get("destination_canonical_service", "")
            space = row.get("destination_workload_namespace", "")
            host = row.get("destination_service", "")
            if callee not in NOBODY and host not in NOBODY:
                hosts[(callee, space)].add(host)
                self._canonical[(row.get("destination_workload", ""), space)] = callee
        self._host = {key: best_host(key[0], found) for key, found in hosts.items()}
        self._entries = Entries(
            edge
            for row in given
            if (edge := self.edge(row)) is not None
            and (row.get("source_canonical_service", ""), row.get("source_workload_namespace", ""))
            in self._gateways
        )

    def edge(self, labels: Labels) -> EdgeName | None:
        """Caller and host; for a proxy's own counters from its workload and the host in the cluster's name."""
        cluster = labels.get("envoy_cluster_name")
        if cluster is None:
            space = labels.get("source_workload_namespace", "")
            canonical, host = labels.get("source_canonical_service", ""), labels.get("destination_service", "")
        else:
            parts = cluster.split("|")
            if len(parts) != 4:
                return None
            space, host = labels.get("namespace", ""), parts[3]
            canonical = self._canonical.get((labels.get("workload", ""), space), "")
        if host in NOBODY or canonical == "":
            return None
        caller = self._service((canonical, space))
        return EdgeName(f"{caller}|{host}", caller, host)

    def backend(self, labels: Labels) -> str | None:
        """The version."""
        version = labels.get("destination_version", "")
        return None if version in NOBODY else version

    def callee(self, labels: Labels) -> str | None:
        """The host."""
        host = labels.get("destination_service", "")
        return None if host in NOBODY else host

    def service(self, labels: Labels) -> str | None:
        """The host, or that of the workload."""
        if "destination_service" in labels:
            return self.callee(labels)
        space = labels.get("namespace", "")
        canonical = self._canonical.get((labels.get("workload", ""), space))
        return self._service((canonical, space)) if canonical else None

    def apis(self, seen: Iterable[Labels]) -> tuple[dict[str, str], list[Gap]]:
        """One for each host that a gateway leads to; the edges say it all."""
        del seen
        return dict(self._entries.edges), []

    def api(self, labels: Labels) -> str | None:
        """The API that enters by this edge."""
        return self._entries.api(self.edge(labels))

    def _service(self, key: tuple[str, str]) -> str:
        return self._host.get(key, ".".join(part for part in key if part))
