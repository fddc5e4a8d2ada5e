"""A knob's whole way on a real API server: read, dry run, apply, change, give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import yaml

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_before import BeforeImage
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_discovery import snapshot
from governor.adapters.kubernetes_edits import OwnObject
from governor.adapters.kubernetes_images import BeforeImages
from governor.adapters.kubernetes_objects import SERVICE, Body, Kind, Ref, Snapshot
from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.kubernetes_writer import KubernetesWriter, while_changed
from governor.adapters.meshes.mesh import Mesh, Place
from governor.knobs import VALUE_TYPES, Knob, KnobValue, Target, value_to_json

from .capabilities import record

SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


class Journey:
    """One namespace with a user's objects, and the governor's writer."""

    def __init__(
        self,
        cluster: Any,
        namespace: str,
        mesh: Mesh,
        manifests: str,
        *,
        opted_in: bool = True,
        also: Kind = SERVICE,
    ) -> None:
        self.mesh, self.namespace = mesh, namespace
        self._kinds = {SERVICE, also, *mesh.kinds}
        self._api = KubernetesApi(api_client(cluster.kubeconfig))
        self._images = BeforeImages(self._api, namespace)
        self._images.load()
        self._writer = KubernetesWriter(self._api, self._images)
        for document in yaml.safe_load_all(manifests):
            metadata = document["metadata"] | {"namespace": namespace}
            if opted_in:
                metadata["annotations"] = {**metadata.get("annotations", {}), MAY_EDIT: "all"}
            cluster.api.apply(document | {"metadata": metadata}, manager="a-user")
            if "status" in document:
                _put_status(cluster.api, document | {"metadata": metadata})

    def seen(self) -> Snapshot:
        return snapshot(self._api, self._kinds, (self.namespace,))

    def write(self, where: Place, value: KnobValue) -> dict[str, None]:
        """Make all changes of a value, each after a dry run that is judged strictly; kinds of the objects."""
        return while_changed(partial(self._look_and_write, where, value))

    def _look_and_write(self, where: Place, value: KnobValue) -> dict[str, None]:
        knob = _knob_of(value)
        changes = self.mesh.changes(self.seen(), where, value)
        assert changes, f"{value} needs no change"
        for change in changes:
            body = self.seen().get(change.ref)
            own = isinstance(change, OwnObject)
            uid = str((body or {}).get("metadata", {}).get("uid", ""))
            image = self._images.of(change.ref, knob) or BeforeImage(
                change.ref, uid, Target(knob.sits_on, "t"), knob, value_to_json(value), own=own
            )
            # No controller runs here that could confirm anything.
            self._writer.make(change, body, replace(image, own=image.own or own), frozenset())
        return {f"{'own ' if c.ref.name.endswith('-governor') else ''}{c.ref.kind.kind}": None for c in changes}

    def give_back(self, only: Knob | None = None) -> None:
        for image in self._images:
            if only in {None, image.knob}:
                assert self._writer.restore(image) == ""

    def shown(self, where: Place, *values: KnobValue) -> None:
        """Each value is written and read back, and at the end everything is as its owner left it."""
        assert len(values) > 1, "one value to apply, another to change it to"
        before = _without_servers_own(self.seen())
        kinds: dict[str, None] = {}
        for value in values:
            kinds |= self.write(where, value)
            said = self.mesh.settings(self.seen(), where)
            assert said[_knob_of(value)] == value
        self.give_back()
        assert _without_servers_own(self.seen()) == before
        record(self.mesh.name, _knob_of(values[0]).value, f"{', '.join(kinds)}: applied, changed, given back")

    def refused(self, where: Place, value: KnobValue) -> str:
        """The reason for which the writer leaves a user's object alone."""
        try:
            self.write(where, value)
        except Inexpressible as error:
            return str(error)
        raise AssertionError(f"{value} was written")


def _knob_of(value: KnobValue) -> Knob:
    return next(knob for knob, kind in VALUE_TYPES.items() if isinstance(value, kind))


def _without_servers_own(found: Snapshot) -> Mapping[Ref, Body]:
    kept = {}
    for ref, body in found.objects.items():
        metadata = {key: value for key, value in body["metadata"].items() if key not in SERVERS_OWN}
        # A status is its controller's, which may run beside (istiod speaks of routes, too).
        kept[ref] = {key: value for key, value in body.items() if key != "status"} | {"metadata": metadata}
    return kept


def _put_status(api: Any, document: Mapping[str, Any]) -> None:
    path = (
        f"{api.collection(document)}/{document['metadata']['name']}/status?fieldManager=a-controller&force=true"
    )
    body = {key: document[key] for key in ("apiVersion", "kind", "status")}
    name = {key: document["metadata"][key] for key in ("name", "namespace")}
    api.request("PATCH", path, body | {"metadata": name}, "application/apply-patch+yaml")
