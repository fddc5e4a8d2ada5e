"""What the service process is told: replicas, call trees, edges, and faults on a time line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from governor.lab.documents import Scenario
from governor.lab.layout import INGRESS, Layout, call_nodes


@dataclass(frozen=True)
class ReplicaPlan:
    """One replica of a service."""

    service: str
    index: int
    port: int
    workers: int
    service_time_s: float
    distribution: str
    queue_limit: int

    @property
    def pod(self) -> str:
        """Its name in metrics."""
        return f"{self.service}-{self.index}"


@dataclass(frozen=True)
class FaultAction:
    """A change at one replica of `service` (all, if `replica` is None) at `at_s` after the start."""

    at_s: float
    service: str
    replica: int | None = None
    workers_factor: float | None = None
    slowdown: float | None = None
    error_rate: float | None = None


@dataclass(frozen=True)
class ServicePlan:
    """Everything the service process needs to know; edge ports by `<caller>|<callee>`."""

    address: str
    metrics_port: int
    seed: int
    replicas: tuple[ReplicaPlan, ...]
    apis: dict[str, list[tuple[str, tuple[int, ...]]]]
    edge_ports: dict[str, int]

    def write(self, path: Path) -> None:
        """Save as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> ServicePlan:
        """Read what `write` saved."""
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["replicas"] = tuple(ReplicaPlan(**replica) for replica in content["replicas"])
        return cls(**content)


def make_service_plan(scenario: Scenario, layout: Layout) -> ServicePlan:
    """The services of a scenario at the addresses of a layout."""
    replicas = tuple(
        ReplicaPlan(
            service.name,
            index,
            port,
            service.workers,
            service.service_time_s,
            service.distribution,
            service.queue_limit,
        )
        for service in scenario.topology.services
        for index, port in enumerate(layout.replica_ports[service.name])
    )
    return ServicePlan(
        address=layout.address,
        metrics_port=layout.metrics_port,
        seed=scenario.seed,
        replicas=replicas,
        apis={api.name: call_nodes(api.calls) for api in scenario.apis},
        edge_ports={f"{edge.caller}|{edge.callee}": edge.port for edge in layout.edges if edge.caller != INGRESS},
    )
