"""Which row of a frame series belong to whose labels name Kubernetes workloads and services.

Which labels those are stands in the dialect's file: Linkerd, Cilium's Hubble and Knative differ in nothing else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from governor.adapters.prometheus_names_entries import NOBODY, Entries, best_host, host_of
from governor.adapters.prometheus_queries import Labels
from governor.domain import Gap
from governor.observe.index import EdgeName

LabelNames = Mapping[str, Sequence[Sequence[str]]]
"""For caller, callee, workload and behind: labels that give the name, and those that give the namespace; for
backend only the name. Of several the first that a series has counts."""


class ServiceNames:
    """Names by host: a callee is the host of its service, a caller the host that leads to its workload.

    Args:
        labels: labels of `caller`, `callee`, `backend`, `workload` (of a row about a service) and `behind` (the
            workload behind a callee).
        gateways: regular expression for names of workloads that clients from outside come through.
        entry: name of callers that the labels leave open, "" if there are none such.
        seen: rows of the edges.
        workloads: rows that name a callee and the workload behind it.

    A workload that nothing is known of stands behind the service of its own name, if somebody calls such a one;
    else it is `<workload>.<namespace>`, as gateways are.
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
        self._entry = entry
        given = list(seen)
        self._callees = {host for row in given if (host := self.callee(row)) is not None}
        self._hosts = self._hosts_of(workloads)
        gateway = re.compile(gateways)
        edges = [(self._pair("caller", row)[0], edge) for row in given if (edge := self.edge(row)) is not None]
        self._entries = Entries(
            edge for name, edge in edges if gateway.fullmatch(name) or (entry and edge.caller == entry)
        )

    def edge(self, labels: Labels) -> EdgeName | None:
        """From the caller's host to the callee's."""
        host = self.callee(labels)
        caller = self._caller(labels)
        return None if host is None or caller is None else EdgeName(f"{caller}|{host}", caller, host)

    def callee(self, labels: Labels) -> str | None:
        """Host of the service that is called."""
        name, namespace = self._pair("callee", labels)
        return host_of(name, namespace) if name and namespace else None

    def backend(self, labels: Labels) -> str | None:
        """What the mesh calls the backend."""
        return self._first(self._labels.get("backend", [()])[0], labels) or None

    def service(self, labels: Labels) -> str | None:
        """Host of the service that a workload is behind."""
        pair = self._pair("workload", labels)
        return self._of_workload(*pair) if all(pair) else None

    def apis(self, seen: Iterable[Labels]) -> tuple[dict[str, str], list[Gap]]:
        """One for each host that a gateway leads to; the edges say it all."""
        del seen
        return dict(self._entries.edges), []

    def api(self, labels: Labels) -> str | None:
        """The API that enters by this edge, or the only one of the service whose own proxies count."""
        edge = self.edge(labels)
        return self._entries.api(edge) if edge else self._entries.only_api_of(self.service(labels))

    def _caller(self, labels: Labels) -> str | None:
        name, namespace = self._pair("caller", labels)
        if not name:
            return self._entry or None
        return self._of_workload(name, namespace)

    def _of_workload(self, name: str, namespace: str) -> str:
        known = self._hosts.get((name, namespace))
        own = host_of(name, namespace)
        if known is not None or own in self._callees:
            return known or own
        return f"{name}.{namespace}" if namespace else name

    def _hosts_of(self, workloads: Iterable[Labels]) -> dict[tuple[str, str], str]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for row in workloads:
            host, pair = self.callee(row), self._pair("behind", row)
            if host is not None and all(pair):
                found[pair].add(host)
        return {pair: best_host(pair[0], hosts) for pair, hosts in found.items()}

    def _pair(self, what: str, labels: Labels) -> tuple[str, str]:
        """Name and namespace, "" where no label gives one."""
        names, namespaces = self._labels.get(what, ((), ()))
        return self._first(names, labels), self._first(namespaces, labels)

    @staticmethod
    def _first(names: Sequence[str], labels: Labels) -> str:
        return next((value for name in names if (value := labels.get(name, "")) not in NOBODY), "")
