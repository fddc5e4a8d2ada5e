"""Small clusters out of manifests, places in them, and what a mesh's changes make of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import (
    ABSENT,
    AnyChange,
    Change,
    Edit,
    OwnObject,
    edited,
    value_at,
)
from governor.adapters.kubernetes_objects import SERVICE, Body, Kind, Ref, Snapshot
from governor.adapters.kubernetes_writer import own_body
from governor.adapters.meshes.mesh import Mesh, Place, Service
from governor.knobs import KnobValue

HERE = Path(__file__).resolve()
SHARED = Path(os.environ.get("SHARED_FOLDER", HERE.parents[4] / "shared"))


def cluster(text: str, kinds: Sequence[Kind]) -> Snapshot:
    """The objects of a stream of manifests, those of `kinds` and core services."""
    return snapshot_of(yaml.safe_load_all(text), kinds)


def snapshot_of(documents: Iterator[Any], kinds: Sequence[Kind]) -> Snapshot:
    known = {(kind.api_version, kind.kind): kind for kind in (SERVICE, *kinds)}
    objects: dict[Ref, Body] = {}
    for body in documents:
        kind = known.get((body["apiVersion"], body["kind"])) if body else None
        if kind is not None:
            meta = body["metadata"]
            objects[Ref(kind, meta.get("namespace", "default"), meta["name"])] = body
    return Snapshot(objects, frozenset(kinds))


def place(name: str, namespace: str = "shop", **more: Any) -> Place:
    """The edge from `web` to a service."""
    caller = more.pop("caller", f"web.{namespace}.svc.cluster.local")
    callee = Service(name, namespace, f"{name}.{namespace}.svc.cluster.local")
    return Place(callee, caller, more.pop("callers", (caller,)), **more)


def after(snapshot: Snapshot, changes: Sequence[AnyChange]) -> Snapshot:
    """The cluster once the changes are made."""
    for change in changes:
        if isinstance(change, OwnObject):
            body = None if change.body is None else own_body(change)
        else:
            body = edited(snapshot.objects[change.ref], change.edits)
        snapshot = snapshot.having(change.ref, body)
    return snapshot


def made(mesh: Mesh, snapshot: Snapshot, where: Place, value: KnobValue) -> Snapshot:
    return after(snapshot, mesh.changes(snapshot, where, value))


def gives_back(snapshot: Snapshot, changes: Sequence[AnyChange]) -> None:
    """Nothing but the named leaves differs, and their old values make every object what it was."""
    now = after(snapshot, changes)
    for change in changes:
        if isinstance(change, Change):
            before = snapshot.objects[change.ref]
            old = [Edit(edit.path, value_at(before, edit.path)) for edit in change.edits]
            assert edited(now.objects[change.ref], old) == without_empty(before, change)
    touched = {change.ref for change in changes}
    assert {r: b for r, b in now.objects.items() if r not in touched} == {
        r: b for r, b in snapshot.objects.items() if r not in touched
    }


def gives_back_what_can_be_said(mesh: Mesh, snapshot: Snapshot, where: Place, values: Iterable[KnobValue]) -> int:
    """Of the values that the mesh can express, all changes of objects that were there; how many those are."""
    count = 0
    for value in values:
        try:
            changes = mesh.changes(snapshot, where, value)
        except Inexpressible:
            continue
        theirs = [change for change in changes if change.ref in snapshot.objects]
        gives_back(snapshot, theirs)
        count += len(theirs)
    return count


def without_empty(body: Body, change: Change) -> Body:
    """The object without mappings that are empty and would hold a leaf: to the API they are the same as none."""
    return edited(body, [Edit(e.path, ABSENT) for e in change.edits if value_at(body, e.path) is ABSENT])


def shared_manifests(*folders: str) -> list[Path]:
    """Manifests of real users beside the checkout; none where that folder is not there."""
    return sorted(path for folder in folders for path in (SHARED / "manifests" / folder).glob("*.yaml"))


needs_manifests = pytest.mark.skipif(
    not (SHARED / "manifests").is_dir(),
    reason="no folder of real manifests beside the checkout (SHARED_FOLDER)",
)
