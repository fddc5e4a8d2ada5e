"""Before-images: what stood in an object before the governor changed it, where the next leader can find it.

One ConfigMap for each object and knob, in the governor's own namespace, written before the object is. It holds
the leaves as their owner had them and the values that the governor has written since: what is neither has been
changed by somebody else, and is left alone when everything is given back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from governor.adapters.kubernetes_edits import ABSENT, Edit, FieldPath, value_at
from governor.adapters.kubernetes_objects import CONFIG_MAP, Body, Kind, Ref
from governor.adapters.kubernetes_ownership import MANAGED_BY, MANAGER
from governor.adapters.kubernetes_patches import elements_on
from governor.errors import ControlPlaneError
from governor.knobs import Knob, Target, TargetKind

LABEL = "mesh-governor.github.io/before-image"
REMEMBERED = 4
"""Values of the governor that are kept: the newest, and those of writes whose outcome nobody knows."""


@dataclass(frozen=True)
class Leaf:
    """One leaf as its owner had it."""

    path: FieldPath
    elements: tuple[Mapping[str, Any], ...]
    """Identities of the list elements on the way."""
    before: Any
    """JSON data, or ABSENT."""
    ours: tuple[Any, ...] = ()
    """What the governor wrote there, newest last; JSON data or ABSENT. None for an empty mapping on the way."""


@dataclass(frozen=True)
class BeforeImage:
    """What one knob had changed in one object."""

    ref: Ref
    uid: str
    """Of the object; one of the same name with another uid is another object."""
    target: Target
    knob: Knob
    value: Mapping[str, Any]
    """The operator's value of the knob as plain data; what `value_to_json` gives."""
    leaves: tuple[Leaf, ...] = ()
    own: bool = False
    """The object is the governor's own: giving back is deleting it."""

    @property
    def key(self) -> tuple[Ref, Knob]:
        """What it is the before-image of."""
        return self.ref, self.knob

    def writing(self, now: Body, edits: tuple[Edit, ...], others: Sequence[BeforeImage] = ()) -> BeforeImage:
        """The image before `edits` are made in `now`: leaves it has not seen are added as they stand there.

        What one of `others`, the images of other knobs in this object, has written there is not the owner's:
        then the owner's is what that image kept.
        """
        known = {leaf.path: leaf for leaf in self.leaves}
        for edit in edits:
            if (empty := _empty_holder(now, edit.path)) is not None and empty not in known:
                known[empty] = Leaf(empty, elements_on(now, empty), {})
            leaf = known.get(edit.path) or _as_found(now, edit.path, others)
            ours = (*(value for value in leaf.ours if value != edit.value), edit.value)[-REMEMBERED:]
            known[edit.path] = replace(leaf, ours=ours)
        return replace(self, leaves=tuple(known.values()))

    def leaf(self, path: FieldPath) -> Leaf | None:
        """The leaf at this path, None if the knob has not touched it."""
        return next((leaf for leaf in self.leaves if leaf.path == path), None)


def _as_found(now: Body, path: FieldPath, others: Sequence[BeforeImage]) -> Leaf:
    value = value_at(now, path)
    for other in others:
        leaf = other.leaf(path)
        if leaf is not None and value in leaf.ours:
            return replace(leaf, ours=())
    return Leaf(path, elements_on(now, path), value)


def _empty_holder(now: Body, path: FieldPath) -> FieldPath | None:
    """An empty mapping on the way to `path`: `outlierDetection: {}` says something, so it has to come back."""
    return next((path[:n] for n in range(1, len(path)) if value_at(now, path[:n]) == {}), None)


def name_of(ref: Ref, knob: Knob) -> str:
    """Name of the ConfigMap; the same for the same object and knob, whoever is leader."""
    text = f"{ref.kind.group}\n{ref.kind.kind}\n{ref.namespace}\n{ref.name}\n{knob.value}"
    return f"before-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def to_config_map(image: BeforeImage, namespace: str) -> tuple[Ref, dict[str, Any]]:
    """The ConfigMap that holds `image`."""
    data = {
        "object": {**asdict(image.ref.kind), "namespace": image.ref.namespace, "name": image.ref.name},
        "uid": image.uid,
        "target": {"kind": image.target.kind.value, "name": image.target.name},
        "knob": image.knob.value,
        "value": image.value,
        "own": image.own,
        "leaves": [
            {
                "path": list(leaf.path),
                "elements": list(leaf.elements),
                "before": _boxed(leaf.before),
                "ours": [_boxed(value) for value in leaf.ours],
            }
            for leaf in image.leaves
        ],
    }
    ref = Ref(CONFIG_MAP, namespace, name_of(image.ref, image.knob))
    labels = {LABEL: "true", MANAGED_BY: MANAGER}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ref.name, "namespace": namespace, "labels": labels},
        "data": {"of": str(image.ref), "image.json": json.dumps(data, sort_keys=True)},
    }
    return ref, body


def from_config_map(body: Body) -> BeforeImage:
    """The inverse of `to_config_map`; ControlPlaneError naming a ConfigMap that does not hold an image."""
    try:
        data = json.loads(body["data"]["image.json"])
        where = dict(data["object"])
        namespace, name = where.pop("namespace"), where.pop("name")
        return BeforeImage(
            Ref(Kind(**where), namespace, name),
            data["uid"],
            Target(TargetKind(data["target"]["kind"]), data["target"]["name"]),
            Knob(data["knob"]),
            data["value"],
            tuple(
                Leaf(
                    tuple(leaf["path"]),
                    tuple(leaf["elements"]),
                    _unboxed(leaf["before"]),
                    tuple(_unboxed(value) for value in leaf["ours"]),
                )
                for leaf in data["leaves"]
            ),
            bool(data["own"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        metadata = body.get("metadata", {})
        raise ControlPlaneError(
            f"ConfigMap {metadata.get('namespace')}/{metadata.get('name')} holds no before-image ({error!r}): "
            "restore it from a backup, or put the object that its field `of` names right by hand and delete it"
        ) from error


def _boxed(value: Any) -> dict[str, Any]:
    return {} if value is ABSENT else {"value": value}


def _unboxed(box: Mapping[str, Any]) -> Any:
    return box["value"] if box else ABSENT
