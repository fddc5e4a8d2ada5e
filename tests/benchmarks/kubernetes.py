"""Changing many targets in one cycle against a real API server: what it costs, and whether the budget is kept.

Baseline: one bare server-side apply for each object by the same client, without dry run, before-image, ownership
or leadership. The API server runs on the same machine, so the figures hold both.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from governor.adapters.kubernetes_api import KubernetesApi, RateBudget
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_events import KubernetesEvents
from governor.adapters.kubernetes_objects import NAMESPACE, Ref
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.istio import MESH
from governor.adapters.meshes.istio_objects import DESTINATION_RULE
from governor.domain import MeshIndex
from governor.knobs import InFlightCap, Knob, Target, TargetKind
from governor.lab.bed import definitions
from governor.lab.bed.build import build
from governor.lab.bed.kubernetes import KubernetesBed
from governor.observe.index import EdgeName, mesh_index
from tests.benchmarks.table import Row, finish

SHOP, OWN = "shop", "mesh-governor"
PER_SECOND, BURST = 50.0, 100
CAP = ("trafficPolicy", "connectionPool", "http", "http2MaxRequests")
Specs = dict[Ref, Any]


class CountingBudget(RateBudget):
    """A budget that remembers the most requests that began within any one second."""

    def __init__(self, per_second: float, burst: int) -> None:
        super().__init__(per_second, burst)
        self._begun: deque[float] = deque()
        self.most = 0

    def take(self) -> None:
        """Wait, then count."""
        super().take()
        now = time.monotonic()
        self._begun.append(now)
        while self._begun[0] < now - 1.0:
            self._begun.popleft()
        self.most = max(self.most, len(self._begun))


def main(targets: int, json_path: Path | None) -> int:
    """Run it once and print the table; 1 if the budget was not kept or an object was not given back as it was."""
    build()
    with tempfile.TemporaryDirectory() as folder, KubernetesBed(Path(folder) / "bed") as bed:
        definitions.install(bed.api, definitions.istio())
        free = KubernetesApi(api_client(bed.kubeconfig), RateBudget(1e9, 10**9))
        original = _shop(free, targets)
        rows = [Row("baseline: a bare apply each", (_bare(free, targets),), "ms")]
        for name in original:
            free.apply(name, _body(name, {}), "baseline")
        rows += _governed(bed, targets, original, RateBudget(1e9, 10**9), "without a budget")
        budget = CountingBudget(PER_SECOND, BURST)
        rows += _governed(bed, targets, original, budget, f"budget {PER_SECOND:g}/s, burst {BURST}")
        most = float(budget.most)
        rows.append(Row("most requests in any second", (most,), "", PER_SECOND + BURST, at_least=False))
    return finish(f"Kubernetes: {targets:,} targets changed in one cycle", rows, json_path)


def _governed(bed: KubernetesBed, targets: int, original: Specs, budget: RateBudget, note: str) -> list[Row]:
    api = KubernetesApi(api_client(bed.kubeconfig), budget)
    plane = KubernetesControlPlane(api, PlaneOptions((MESH,), OWN), KubernetesEvents(api, "benchmark").tell)
    index = _index(targets)
    with _timed() as reading:
        plane.read(index)
    sent = api.requests
    with _timed() as writing:
        for edge in index.edges:
            plane.write(Target(TargetKind.EDGE, edge), Knob.IN_FLIGHT_CAP, InFlightCap(50, None))
    each = (api.requests - sent) / targets
    taken = sum(
        spec["trafficPolicy"]["connectionPool"]["http"] == {"http2MaxRequests": 50} for spec in _specs(api)
    )
    with _timed() as releasing:
        plane.release()
    changed = sum(original[ref] != spec for ref, spec in _found(api).items())
    return [
        Row("reading all objects and settings", (reading[0],), "s", note=note),
        Row("a write", (writing[0] / targets * 1000,), "ms", note=f"{note}; {writing[0]:.1f} s in all"),
        Row("requests a write", (each,), "", 4.5, at_least=False, note="dry run, before-image, write, event"),
        Row("targets that were changed", (taken / targets,), "", 1.0),
        Row("giving one back", (releasing[0] / targets * 1000,), "ms", note=note),
        Row("objects not as they were", (float(changed),), "", 0.0, at_least=False),
    ]


def _shop(api: KubernetesApi, targets: int) -> Specs:
    for name in (SHOP, OWN):
        ref = Ref(NAMESPACE, "", name)
        api.apply(ref, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, "benchmark")
    for number in range(targets):
        ref = Ref(DESTINATION_RULE, SHOP, f"s{number}")
        policy = {"tls": {"mode": "DISABLE"}, "connectionPool": {"tcp": {"maxConnections": 77}}}
        api.create(ref, _body(ref, {"host": f"s{number}", "trafficPolicy": policy}), "kubectl-create")
    return _found(api)


def _bare(api: KubernetesApi, targets: int) -> float:
    with _timed() as spent:
        for number in range(targets):
            ref = Ref(DESTINATION_RULE, SHOP, f"s{number}")
            spec = {CAP[0]: {CAP[1]: {CAP[2]: {CAP[3]: 40}}}}
            api.apply(ref, _body(ref, spec), "baseline")
    return spent[0] / targets * 1000


def _index(targets: int) -> MeshIndex:
    hosts = [f"s{number}.{SHOP}.svc.cluster.local" for number in range(targets)]
    return mesh_index([EdgeName(f"web.{SHOP}|{host}", f"web.{SHOP}", host) for host in hosts])


def _body(ref: Ref, spec: Any) -> dict[str, Any]:
    metadata = {"name": ref.name, "namespace": ref.namespace}
    body = {"apiVersion": ref.kind.api_version, "kind": ref.kind.kind, "metadata": metadata}
    return body | ({"spec": spec} if spec else {})


def _found(api: KubernetesApi) -> Specs:
    return {ref: body["spec"] for ref, body in api.list_of(DESTINATION_RULE, SHOP)}


def _specs(api: KubernetesApi) -> list[Any]:
    return list(_found(api).values())


@contextmanager
def _timed() -> Iterator[list[float]]:
    """A list that holds the seconds of the block once it is over."""
    spent: list[float] = []
    begun = time.perf_counter()
    yield spent
    spent.append(time.perf_counter() - begun)
