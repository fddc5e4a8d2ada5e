"""Requests that change single leaves: bodies for server-side apply, and JSON Patches that test what they change.

Sources: Kubernetes, Server-Side Apply; RFC 6902 (JSON Patch). The patches test the resourceVersion, the identity
of every list element on the way, and the old value: whatever else happened to the object, nothing wrong is hit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from governor.adapters.kubernetes_edits import ABSENT, Edit, FieldPath, edited, pointer, value_at
from governor.adapters.kubernetes_objects import Body, Ref

IDENTITY = (
    "name", "match", "matches", "destination", "group", "kind", "namespace", "port", "service",
    "revisionName", "configurationName", "latestRevision", "tag",
)  # fmt: skip
"""Fields that say which element of a list this is, in every list that the governor edits."""

Operation = dict[str, Any]


def apply_body(ref: Ref, edits: Iterable[Edit], now: Body) -> dict[str, Any]:
    """What is applied: `edits` and nothing else, for exactly the object and version that `now` is."""
    metadata = now.get("metadata", {})
    own: dict[str, Any] = {"name": ref.name}
    if ref.namespace:
        own["namespace"] = ref.namespace
    # Without the uid, applying to an object that was deleted meanwhile would make one with our leaves only.
    own |= {key: metadata[key] for key in ("uid", "resourceVersion") if key in metadata}
    body: dict[str, Any] = {"apiVersion": ref.kind.api_version, "kind": ref.kind.kind, "metadata": own}
    return edited(body, (edit for edit in edits if edit.value is not ABSENT))


def json_patch(now: Body, edits: Sequence[Edit]) -> list[Operation]:
    """Operations that make `edits` in `now`, and fail as a whole if it is not the object it was."""
    version = now.get("metadata", {}).get("resourceVersion")
    operations: list[Operation] = []
    if version is not None:
        operations.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
    operations += _identities(now, [edit.path for edit in edits])
    state: Body = now
    for edit in edits:
        operations += _operations(state, edit)
        state = edited(state, [edit])
    return operations


def _identities(now: Body, paths: Iterable[FieldPath]) -> list[Operation]:
    """Tests that every list element on the way is the one that was read."""
    found: dict[str, Operation] = {}
    for path in paths:
        for depth, part in enumerate(path):
            if isinstance(part, int):
                place = path[: depth + 1]
                for key, value in identity(value_at(now, place)).items():
                    where = pointer((*place, key))
                    found[where] = {"op": "test", "path": where, "value": value}
    return list(found.values())


def identity(element: Any) -> Mapping[str, Any]:
    """What says which element of its list this is; empty for one without any such field."""
    if not isinstance(element, Mapping):
        return {}
    return {key: element[key] for key in IDENTITY if key in element}


def _operations(state: Body, edit: Edit) -> list[Operation]:
    old = value_at(state, edit.path)
    if old is not ABSENT:
        test = {"op": "test", "path": pointer(edit.path), "value": old}
        if edit.value is ABSENT:
            return [test, {"op": "remove", "path": pointer(_emptied(state, edit.path))}]
        return (
            []
            if old == edit.value
            else [test, {"op": "replace", "path": pointer(edit.path), "value": edit.value}]
        )
    if edit.value is ABSENT:
        return []
    depth = next(d for d in range(1, len(edit.path) + 1) if value_at(state, edit.path[:d]) is ABSENT)
    value = edit.value
    for part in reversed(edit.path[depth:]):
        value = {part: value}
    return [{"op": "add", "path": pointer(edit.path[:depth]), "value": value}]


def _emptied(state: Body, path: FieldPath) -> FieldPath:
    """The highest mapping on the way that holds nothing but this leaf, or the leaf itself."""
    while len(path) > 2 and isinstance(path[-2], str):
        holder = value_at(state, path[:-1])
        if not isinstance(holder, Mapping) or len(holder) != 1:
            break
        path = path[:-1]
    return path


def located(body: Body, path: FieldPath, elements: Sequence[Mapping[str, Any]]) -> FieldPath | None:
    """Where `path` is now, if list elements have moved; None if one of `elements` is gone or there twice.

    `elements` are the identities of the elements that `path` led through, in order.
    """
    left = list(elements)
    here: tuple[str | int, ...] = ()
    for part in path:
        if isinstance(part, int):
            wanted = left.pop(0)
            items = value_at(body, here)
            if not isinstance(items, Sequence):
                return None
            same = [i for i, item in enumerate(items) if identity(item) == wanted]
            if part in same:
                here = (*here, part)
            elif len(same) == 1:
                here = (*here, same[0])
            else:
                return None
        else:
            here = (*here, part)
    return here


def elements_on(body: Body, path: FieldPath) -> tuple[Mapping[str, Any], ...]:
    """Identities of the list elements that `path` leads through, in order."""
    return tuple(
        identity(value_at(body, path[: depth + 1])) for depth, part in enumerate(path) if isinstance(part, int)
    )
