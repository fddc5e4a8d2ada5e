"""One service of Istio in the bed, and the governor's control plane over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from governor.adapters.kubernetes_api import KubernetesApi, RateBudget
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_objects import Ref
from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.mesh import Mesh
from governor.domain import MeshIndex
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.observe.index import EdgeName, mesh_index

Document = dict[str, Any]
API_VERSION = "networking.istio.io/v1"


def service(name: str, namespace: str) -> Document:
    """A Service with a selector."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
    }


def istio(kind: str, name: str, namespace: str, spec: Mapping[str, Any], may_edit: str = "") -> Document:
    """An object of Istio's, with the opt-in if it is given."""
    version = "networking.istio.io/v1alpha3" if kind == "EnvoyFilter" else API_VERSION
    metadata: Document = {"name": name, "namespace": namespace}
    if may_edit:
        metadata["annotations"] = {MAY_EDIT: may_edit}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": deepcopy(dict(spec))}


class Governed:
    """A control plane that governs the edge from a service to one host in a namespace, without a rate budget."""

    def __init__(
        self,
        kubeconfig: Path,
        mesh: Mesh,
        namespace: str,
        host: str,
        backends: tuple[str, ...] = (),
        caller: str = "web",
    ) -> None:
        caller = f"{caller}.{namespace}.svc.cluster.local"
        edge = f"{caller}|{host}"
        self.index: MeshIndex = mesh_index(
            [EdgeName(edge, caller, host)], [(edge, backend) for backend in backends], {"orders": edge}
        )
        self.edge = Target(TargetKind.EDGE, edge)
        self.api = Target(TargetKind.API, "orders")
        self.mesh, self.namespace = mesh, namespace
        self.client = KubernetesApi(api_client(kubeconfig), RateBudget(1e6, 1_000_000))
        options = PlaneOptions((mesh,), namespace, (namespace,))
        self.plane = KubernetesControlPlane(self.client, options)

    def objects(self) -> dict[Ref, Document]:
        """What every object of the mesh's kinds in the namespace says now."""
        kinds = (kind for kind in self.mesh.kinds if kind.kind != "Gateway" or kind.group.endswith("istio.io"))
        return {ref: meaning(body) for kind in kinds for ref, body in self.client.list_of(kind, self.namespace)}

    def write(self, knob: Knob, value: KnobValue) -> KnobValue:
        """Write a value after a look at everything; the one that is then in force."""
        self.plane.read(self.index)
        return self.plane.write(self.target(knob), knob, value).after

    def target(self, knob: Knob) -> Target:
        """Where the knob sits."""
        return self.api if knob is Knob.RATE_LIMIT else self.edge


def values(backends: tuple[str, ...] = ()) -> Iterator[tuple[Knob, KnobValue, KnobValue]]:
    """Every knob with a first value and one that it is changed to."""
    yield Knob.IN_FLIGHT_CAP, InFlightCap(50, None), InFlightCap(40, None)
    yield Knob.CONNECTION_LIMITS, ConnectionLimits(100, 20), ConnectionLimits(80, None)
    yield Knob.OUTLIER_DETECTION, OutlierDetection(0.3, 5), OutlierDetection(0.0, None)
    yield Knob.TIMEOUT, Timeout(1.5, 0.5), Timeout(2.0, 0.25)
    yield Knob.RETRIES, RetryPolicy(1, 0.15), RetryPolicy(0, 0.1)
    yield Knob.RATE_LIMIT, RateLimit(100.0), RateLimit(7.5)
    if len(backends) > 1:
        rest = tuple((name, 0.0) for name in backends[2:])
        first, second = ((backends[0], share, backends[1], 1 - share) for share in (0.75, 0.4))
        yield (
            Knob.WEIGHTS,
            BackendWeights(((first[0], first[1]), (first[2], first[3]), *rest)),
            BackendWeights(((second[0], second[1]), (second[2], second[3]), *rest)),
        )


def meaning(body: Mapping[str, Any]) -> Document:
    """What an object says: without what the server writes into it."""
    metadata = body["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "labels", "annotations") if key in metadata}
    return {**{key: value for key, value in body.items() if key not in {"metadata", "status"}}, "metadata": kept}
