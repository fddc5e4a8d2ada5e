"""Where everything of a lab listens, and which edges there are: derived from the scenario alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from governor.lab.documents import Api, Call, Scenario

INGRESS = "ingress"
"""The caller that stands for the outside world."""


@dataclass(frozen=True)
class Edge:
    """One caller-callee pair; everything of it in Envoy carries `name`."""

    caller: str
    callee: str
    port: int

    @property
    def name(self) -> str:
        """`out|<caller>|<callee>`: listener, route configuration, cluster and load assignment."""
        return f"out|{self.caller}|{self.callee}"


@dataclass(frozen=True)
class Layout:
    """Addresses of one lab: Envoy's admin, the services' metrics, edges and replicas."""

    address: str
    admin_ports: dict[str, int]
    """Admin port of each Envoy; one entry `mesh`, or one per caller."""
    metrics_port: int
    edges: tuple[Edge, ...]
    replica_ports: dict[str, tuple[int, ...]]

    def edge(self, caller: str, callee: str) -> Edge:
        """The edge from caller to callee; KeyError if no API uses it."""
        for edge in self.edges:
            if (edge.caller, edge.callee) == (caller, callee):
                return edge
        raise KeyError((caller, callee))

    def all_ports(self) -> list[int]:
        """Every TCP port the lab listens on."""
        replicas = [port for ports in self.replica_ports.values() for port in ports]
        edges = [edge.port for edge in self.edges]
        return [*self.admin_ports.values(), self.metrics_port, *edges, *replicas]


def entry_edge(layout: Layout, api: Api) -> Edge:
    """The ingress edge through which requests of `api` come in."""
    return layout.edge(INGRESS, api.calls.service)


def entering_apis(scenario: Scenario, edge: Edge) -> list[Api]:
    """The API classes whose requests come into the mesh through `edge`."""
    if edge.caller != INGRESS:
        return []
    return [api for api in scenario.apis if api.calls.service == edge.callee]


def make_layout(scenario: Scenario, address: str, base_port: int) -> Layout:
    """Ports from `base_port` up: admin, metrics (+1), edges (+10 ..), replicas (+200 ..)."""
    pairs: dict[tuple[str, str], None] = {}
    for api in scenario.apis:
        pairs.setdefault((INGRESS, api.calls.service))
        for call in api.calls.walk():
            for below in call.calls:
                pairs.setdefault((call.service, below.service))
    edges = tuple(Edge(caller, callee, base_port + 10 + number) for number, (caller, callee) in enumerate(pairs))
    if scenario.data_plane.envoy_per_service:
        callers = dict.fromkeys(edge.caller for edge in edges)
        admin = {
            caller: base_port if caller == INGRESS else base_port + 150 + number
            for number, caller in enumerate(callers)
        }
    else:
        admin = {"mesh": base_port}
    replicas: dict[str, tuple[int, ...]] = {}
    port = base_port + 200
    for service in scenario.topology.services:
        replicas[service.name] = tuple(range(port, port + service.replicas))
        port += service.replicas
    return Layout(address, admin, base_port + 1, edges, replicas)


def call_nodes(root: Call) -> list[tuple[str, tuple[int, ...]]]:
    """The call tree as a list in preorder: (service, positions of its calls in this list)."""
    nodes: list[tuple[str, tuple[int, ...]]] = []

    def add(call: Call) -> int:
        position = len(nodes)
        nodes.append((call.service, ()))
        children = tuple(add(below) for below in call.calls)
        nodes[position] = (call.service, children)
        return position

    add(root)
    return nodes


def dns(name: str) -> str:
    """A scenario's or service's name as host names and Kubernetes take it."""
    return name.replace("_", "-")


def file_stem(name: str) -> str:
    """File name for a resource called `name`: `|` becomes `__`."""
    return name.replace("|", "__")


def xds_directory(directory: Path, node: str) -> Path:
    """Directory of one Envoy's files: the lab's own, or one below it per caller."""
    return directory if node == "mesh" else directory / node
