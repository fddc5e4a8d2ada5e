"""One shop in Istio's terms, and the plane over it: shared by the tests of writing."""

from __future__ import annotations

from typing import Any

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_objects import Ref
from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.istio import MESH
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, VIRTUAL_SERVICE
from governor.domain import MeshIndex
from governor.knobs import Target, TargetKind
from governor.observe.index import EdgeName, mesh_index
from tests.kubernetes.conftest import Cluster


class Shop:
    """Service `api` of one namespace, called by `web`; two subsets."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.host = f"api.{namespace}.svc.cluster.local"
        self.edge = Target(TargetKind.EDGE, f"web.{namespace}|{self.host}")
        self.rule = Ref(DESTINATION_RULE, namespace, "api")
        self.route = Ref(VIRTUAL_SERVICE, namespace, "api")
        self.api = KubernetesApi(api_client(cluster.kubeconfig))
        self.index = self.index_of("web")

    def index_of(self, *callers: str) -> MeshIndex:
        edges = [
            EdgeName(f"{c}.{self.namespace}|{self.host}", f"{c}.{self.namespace}", self.host) for c in callers
        ]
        backends = [(edge.name, subset) for edge in edges for subset in ("v1", "v2")]
        return mesh_index(edges, backends)

    def plane(self, api: KubernetesApi | None = None, read: bool = True) -> KubernetesControlPlane:
        options = PlaneOptions((MESH,), self.namespace, (self.namespace,))
        plane = KubernetesControlPlane(api or self.api, options)
        if read:
            plane.read(self.index)
        return plane

    def owner_writes(self, ref: Ref, spec: dict[str, Any], may_edit: str = "", **metadata: Any) -> None:
        """What the operator has in Git, as `kubectl create` puts it."""
        annotations = {MAY_EDIT: may_edit} if may_edit else {}
        body = {
            "apiVersion": ref.kind.api_version,
            "kind": ref.kind.kind,
            "metadata": {"name": ref.name, "namespace": ref.namespace, "annotations": annotations, **metadata},
            "spec": spec,
        }
        self.api.create(ref, body, "kubectl-create")

    def owner_merges(self, ref: Ref, patch: dict[str, Any]) -> None:
        """What `kubectl edit` would send."""
        path = (
            f"/apis/{ref.kind.group}/{ref.kind.version}/namespaces/{ref.namespace}/{ref.kind.plural}/{ref.name}"
        )
        self.cluster.api.request("PATCH", path, patch, "application/merge-patch+json")

    def spec(self, ref: Ref) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(ref)["spec"]
        return found


RULE = {
    "host": "api",
    "trafficPolicy": {"tls": {"mode": "DISABLE"}, "connectionPool": {"tcp": {"maxConnections": 77}}},
    "subsets": [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")],
}
ROUTE = {
    "hosts": ["api"],
    "http": [
        {
            "match": [{"headers": {"x-fault": {"exact": "1"}}}],
            "fault": {"abort": {"percentage": {"value": 100}, "httpStatus": 555}},
            "route": [{"destination": {"host": "api", "subset": "v1"}}],
        },
        {
            "retries": {"attempts": 3, "retryOn": "5xx", "perTryTimeout": "2s"},
            "route": [
                {"destination": {"host": "api", "subset": "v1"}, "weight": 9},
                {"destination": {"host": "api", "subset": "v2"}, "weight": 1},
            ],
        },
    ],
}
