"""Which row of a frame the labels of a series belong to: one class for each way that meshes name things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from governor.adapters.prometheus_names_envoy import EnvoyNames
from governor.adapters.prometheus_names_gateway import GatewayNames
from governor.adapters.prometheus_names_istio import IstioNames
from governor.adapters.prometheus_names_opentelemetry import OpenTelemetryNames
from governor.adapters.prometheus_names_services import ServiceNames
from governor.adapters.prometheus_queries import Dialect, Labels
from governor.domain import Gap
from governor.observe.index import EdgeName


class Names(Protocol):
    """Names of rows from labels."""

    def edge(self, labels: Labels) -> EdgeName | None:
        """The edge, None for series that carry no requests of users."""

    def callee(self, labels: Labels) -> str | None:
        """The service that requests go to, where labels do not say who sends them; None for nobody's."""

    def backend(self, labels: Labels) -> str | None:
        """Name of the backend within its edge."""

    def service(self, labels: Labels) -> str | None:
        """Name of the service."""

    def apis(self, seen: Iterable[Labels]) -> tuple[dict[str, str], list[Gap]]:
        """Entry edge of each API, and gaps for those whose entry cannot be known."""

    def api(self, labels: Labels) -> str | None:
        """Name of the API; only after `apis`."""


def names_of(dialect: Dialect, seen: Iterable[Labels], workloads: Iterable[Labels] = ()) -> Names:
    """The names of `dialect`, learned from the labels of the edges `seen`.

    Where a dialect asks `edge.workloads`, its rows tell which service a workload is behind.
    """
    match dialect.name:
        case "envoy":
            return EnvoyNames(dialect.entry, seen)
        case "istio":
            return IstioNames(dialect.gateways, seen)
        case "envoy-gateway":
            return GatewayNames(dialect.labels, dialect.entry, seen)
        case "opentelemetry":
            return OpenTelemetryNames(dialect.labels, dialect.gateways, dialect.entry, seen)
        case _:
            return ServiceNames(dialect.labels, dialect.gateways, dialect.entry, seen, workloads)


def row_numbers(names: Iterable[str]) -> Mapping[str, int]:
    """Position of each name."""
    return {name: i for i, name in enumerate(names)}
