"""Settings that are read again only where objects changed are those that a whole look would give."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from governor.adapters.kubernetes_objects import ENDPOINT_SLICE, Body, Ref, Snapshot
from governor.adapters.kubernetes_state import Read, changed_since, read_settings, touched_by
from governor.adapters.meshes import istio, smi
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, VIRTUAL_SERVICE
from governor.adapters.meshes.mesh import Mesh, ServiceKey
from governor.knobs import KnobState
from governor.observe.index import EdgeName, mesh_index

NAMES = [f"s{number}" for number in range(6)]
HOSTS = [f"{name}.shop.svc.cluster.local" for name in NAMES]
MESHES = (istio.MESH,)
INDEX = mesh_index(
    [EdgeName(f"{a}|{b}", a, b) for a in HOSTS for b in HOSTS if a != b],
    [(f"{a}|{b}", subset) for a in HOSTS for b in HOSTS if a != b for subset in ("v1", "v2")],
)


def rule(name: str, version: int, cap: int) -> tuple[Ref, Body]:
    policy = {"connectionPool": {"http": {"http2MaxRequests": cap}}}
    spec = {"host": name, "trafficPolicy": policy}
    return Ref(DESTINATION_RULE, "shop", name), {"metadata": {"resourceVersion": str(version)}, "spec": spec}


def route(name: str, version: int, weight: int) -> tuple[Ref, Body]:
    routes = [
        {"destination": {"host": name, "subset": subset}, "weight": part}
        for subset, part in (("v1", weight), ("v2", 100 - weight))
    ]
    spec = {"hosts": [name], "http": [{"route": routes, "timeout": f"{weight + 1}s"}]}
    return Ref(VIRTUAL_SERVICE, "shop", name), {"metadata": {"resourceVersion": str(version)}, "spec": spec}


def endpoints(name: str, version: int, count: int) -> tuple[Ref, Body]:
    metadata: dict[str, Any] = {
        "resourceVersion": str(version),
        "labels": {"kubernetes.io/service-name": name},
    }
    addresses = [{"addresses": [f"10.0.0.{number}"]} for number in range(count)]
    return Ref(ENDPOINT_SLICE, "shop", name), {"metadata": metadata, "endpoints": addresses}


def same(one: KnobState, other: KnobState) -> None:
    for field in fields(KnobState):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), field.name)


@pytest.mark.parametrize("seed", range(12))
def test_a_partial_look_sees_what_a_whole_one_would(seed: int) -> None:
    chance = random.Random(seed)
    objects: dict[Ref, Body] = {}
    previous: Read | None = None
    for version in range(1, 25):
        for _ in range(chance.randint(0, 3)):
            make = chance.choice((rule, route, endpoints))
            ref, body = make(chance.choice(NAMES), version, chance.randint(1, 9))
            if ref in objects and chance.random() < 0.3:
                del objects[ref]
            else:
                objects[ref] = body
        snapshot = Snapshot(dict(objects), frozenset(istio.MESH.kinds))
        read = read_settings(MESHES, snapshot, INDEX, previous)
        same(read.state, read_settings(MESHES, snapshot, INDEX).state)
        previous = read


def touched(meshes: Sequence[Mesh], old: Snapshot, new: Snapshot) -> frozenset[ServiceKey] | None:
    return touched_by(meshes, changed_since(old, new), old, new)


def test_only_what_an_object_speaks_of_is_touched() -> None:
    before = Snapshot(dict([rule("s1", 1, 5), route("s2", 1, 50)]))
    after = Snapshot(dict([rule("s1", 2, 6), route("s2", 1, 50)]))
    assert touched(MESHES, before, after) == {("s1", "shop")}
    assert touched(MESHES, after, after) == frozenset()


def test_a_wildcard_or_a_mesh_that_cannot_tell_touches_everything() -> None:
    ref, body = rule("s1", 1, 5)
    wild = {**body, "spec": {**body["spec"], "host": "*.shop.svc.cluster.local"}}
    assert touched(MESHES, Snapshot(), Snapshot({ref: wild})) is None
    split = Ref(smi.MESH.kinds[0], "shop", "split")
    changed = Snapshot({split: {"metadata": {"resourceVersion": "1"}, "spec": {}}})
    assert touched((smi.MESH,), Snapshot(), changed) is None
