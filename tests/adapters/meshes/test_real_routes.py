"""Services and routes as real users write them: every value of Linkerd and Cilium is taken and given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_objects import SERVICE, Body, Ref
from governor.adapters.meshes import cilium, linkerd
from governor.adapters.meshes.mesh import Mesh
from governor.knobs import BackendWeights, Knob, KnobValue, OutlierDetection, RetryPolicy, Timeout

from .objects import gives_back, needs_manifests, place, shared_manifests, snapshot_of


def documents(path: Path) -> Iterator[Any]:
    """Its objects, routes in the version that is read: samples are in older ones, the same in all that counts."""
    for document in filter(None, yaml.safe_load_all(path.read_text())):
        if document["kind"] in {"HTTPRoute", "GRPCRoute"}:
            group = document["apiVersion"].partition("/")[0]
            document["apiVersion"] = f"{group}/{'v1beta3' if group.startswith('policy') else 'v1'}"
        yield document


def backends(body: Body) -> list[list[str]]:
    """Names of the backends of each rule."""
    rules = body["spec"].get("rules") or ()
    return [[backend["name"] for backend in rule.get("backendRefs") or ()] for rule in rules]


def callees(ref: Ref, body: Body) -> set[str]:
    if ref.kind == SERVICE:
        return {ref.name}
    parents = body["spec"].get("parentRefs") or ()
    attached = {parent["name"] for parent in parents if parent.get("kind") == "Service"}
    return attached or {name for names in backends(body) for name in names}


def values(body: Body) -> list[KnobValue]:
    splits = [names for names in backends(body) if len(names) > 1]
    names = splits[-1] if splits else []
    return [
        BackendWeights(tuple((name, 1 / len(names)) for name in names)),
        Timeout(2.0, None),
        RetryPolicy(1, None),
        RetryPolicy(0, None),
        OutlierDetection(None, 5),
    ]


@needs_manifests
@pytest.mark.parametrize(
    ("mesh", "knobs"),
    [
        (linkerd.MESH, {Knob.WEIGHTS, Knob.TIMEOUT, Knob.RETRIES, Knob.OUTLIER_DETECTION}),
        (cilium.MESH, {Knob.WEIGHTS, Knob.TIMEOUT}),
    ],
    ids=["linkerd", "cilium"],
)
def test_objects_of_real_users_take_new_values_and_give_them_back(mesh: Mesh, knobs: set[Knob]) -> None:
    written = set()
    for path in shared_manifests("linkerd", "gateway-api"):
        found = snapshot_of(documents(path), mesh.kinds)
        for ref, body in found.objects.items():
            for name in callees(ref, body):
                where = place(name, ref.namespace)
                mesh.settings(found, where)
                for value in values(body):
                    try:
                        changes = mesh.changes(found, where, value)
                    except Inexpressible:
                        continue
                    gives_back(found, changes)
                    if changes:
                        written.add(knob_of(value))
    assert written == knobs


def knob_of(value: KnobValue) -> Knob:
    return {
        BackendWeights: Knob.WEIGHTS,
        Timeout: Knob.TIMEOUT,
        RetryPolicy: Knob.RETRIES,
        OutlierDetection: Knob.OUTLIER_DETECTION,
    }[type(value)]
