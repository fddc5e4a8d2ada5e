"""The knobs of the meshes of a Kubernetes cluster: one ControlPlane, whatever meshes there are.

Which objects say a value, and how, is each mesh's own file (`adapters/meshes/`). Here is what they share: one
look at all objects in each cycle, who may write where several callers share an object, and what happens to a
write whose object has changed since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_before import BeforeImage
from governor.adapters.kubernetes_discovery import CORE, installed, present, snapshot
from governor.adapters.kubernetes_edits import AnyChange, Change, OwnObject
from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_images import BeforeImages
from governor.adapters.kubernetes_objects import Body, Kind, Ref, Snapshot
from governor.adapters.kubernetes_places import index_of, setting_of, shared_by
from governor.adapters.kubernetes_state import Read, read_settings, version_of
from governor.adapters.kubernetes_writer import KubernetesWriter, Written, obstacle, while_changed
from governor.adapters.meshes.known import all_kinds
from governor.adapters.meshes.mesh import Mesh, Place
from governor.domain import MeshIndex
from governor.errors import ControlPlaneError
from governor.knobs import (
    Knob,
    KnobState,
    KnobValue,
    Proposal,
    Receipt,
    Target,
    TargetKind,
    value_from_json,
    value_to_json,
)

DISCOVERED_S = 300.0
"""How long it is believed which kinds the API server serves."""


@dataclass(frozen=True)
class PlaneOptions:
    """Where to look and write."""

    meshes: tuple[Mesh, ...]
    """In order: of those that are installed, the first that can say a value writes it."""
    namespace: str = "mesh-governor"
    """The governor's own, for before-images."""
    namespaces: tuple[str, ...] = ()
    """Those that are governed; empty: all."""
    confirm_s: float = 10.0
    named: bool = False
    """Whether somebody chose the meshes by name: all of them are asked then."""


class KubernetesControlPlane:
    """ControlPlane over one cluster; `tell` is told of each object that was changed."""

    def __init__(
        self,
        api: KubernetesApi,
        options: PlaneOptions,
        tell: Callable[[Written, Target, Knob, KnobValue, KnobValue], None] = lambda *_: None,
    ) -> None:
        self._api, self._options, self._tell = api, options, tell
        self._images = BeforeImages(api, options.namespace)
        self._writer = KubernetesWriter(api, self._images, options.confirm_s)
        self._served: frozenset[Kind] = frozenset()
        self._discovered: float | None = None
        """When that was asked, on the monotonic clock; None if it must be asked again."""
        self._read: Read | None = None
        """What the last look gave."""
        self._now = Snapshot()
        """The objects as they were then, with all that was written since."""

    def read(self, index: MeshIndex) -> KnobState:
        """Settings in force as the objects say; ControlPlaneError if the API server does not give them."""
        self._images.load()
        try:
            found = snapshot(self._api, self._kinds(), self._options.namespaces)
        except ObjectGone:
            # A definition was taken away meanwhile.
            self._discovered = None
            found = snapshot(self._api, self._kinds(), self._options.namespaces)
        meshes = present(self._options.meshes, found.installed, named=self._options.named)
        if not meshes:
            self._discovered = None
            wanted = ", ".join(mesh.name for mesh in self._options.meshes)
            raise ControlPlaneError(
                f"none of the meshes {wanted} is installed in this cluster: it serves no resources of theirs"
            )
        self._read = read_settings(meshes, found, index, self._read)
        self._now = self._read.snapshot
        return self._read.state

    def refusal(self, proposal: Proposal) -> str | None:
        """Why the objects cannot say what is proposed, or may not be made to; None if they can."""
        try:
            place = self._looked().places.of(proposal.target)
            mesh, changes = self._said(place, proposal.knob, proposal.proposed)
            for change in changes:
                now = self._now.get(change.ref)
                if (
                    isinstance(change, Change)
                    and now is not None
                    and (why := obstacle(now, change, proposal.knob))
                ):
                    return f"{mesh.name}: {why}"
        except Inexpressible as error:
            return str(error)
        return None

    def write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        """Set one knob in all objects that say it.

        Raises ControlPlaneError, with all of them as they were before, if any of it cannot be written.
        """
        if self._read is None:
            # A command that undoes one decision has no frame: the target's name says where it is.
            self.read(index_of(target))
        return while_changed(lambda: self._write(target, knob, value))

    def baseline(self) -> Mapping[tuple[Target, Knob], KnobValue]:
        """The operators' own values, as the before-images in the cluster say."""
        self._images.load()
        return {(i.target, i.knob): value_from_json(i.knob, i.value) for i in self._images}

    def release(self) -> tuple[str, ...]:
        """Give everything back to its owners; what was found otherwise than it was left, in words.

        Goes on after an error and raises ControlPlaneError naming all that could not be given back.
        """
        self._images.load()
        notes: list[str] = []
        failures: list[str] = []
        for image in self._images:
            try:
                note = self._writer.restore(image)
            except ControlPlaneError as error:
                failures.append(f"{image.knob.value} of {image.ref}: {error}")
                continue
            notes.append(note or f"{image.knob.value} of {image.ref} was given back")
        if failures:
            raise ControlPlaneError("not given back, run it again: " + "; ".join(failures))
        return tuple(notes)

    def _write(self, target: Target, knob: Knob, value: KnobValue) -> Receipt:
        meshes = self._looked().meshes
        try:
            place = self._looked().places.of(target)
            mesh, changes = self._said(place, knob, value)
        except Inexpressible as error:
            raise ControlPlaneError(f"{knob.value} of {target}: {error}; nothing was written") from error
        before = setting_of(meshes, self._now, place, knob)
        written: list[Written] = []
        try:
            if self._is_operators_own(target, knob, value):
                written += self._given_back(target, knob)
            else:
                for change in changes:
                    written.append(self._make(change, target, knob, before, mesh))
        except (Inexpressible, ControlPlaneError) as error:
            for done in reversed(written):
                if done.undo is not None:
                    self._make(done.undo, target, knob, before, mesh)
            if isinstance(error, Inexpressible):
                raise ControlPlaneError(f"{knob.value} of {target}: {error}; nothing was written") from error
            raise
        after = setting_of(meshes, self._now, place, knob)
        for done in written:
            if done.undo is not None:
                self._tell(done, target, knob, before, after)
        versions = {
            str(done.ref): "deleted" if done.after is None else version_of(done.after) for done in written
        }
        return Receipt(target, knob, before, after, ", ".join(versions.values()), versions)

    def _make(self, change: AnyChange, target: Target, knob: Knob, before: KnobValue, mesh: Mesh) -> Written:
        now = self._now.get(change.ref)
        known = self._images.of(change.ref, knob)
        uid = str((now or {}).get("metadata", {}).get("uid", ""))
        if known is not None and known.uid != uid and not known.own:
            known = None  # the object was made anew: what stood in the old one is no longer owed to anybody
        own = isinstance(change, OwnObject)
        image = known or BeforeImage(change.ref, uid, target, knob, value_to_json(before), own=own)
        try:
            done = self._writer.make(change, now, image, mesh.confirming)
        except (ObjectChanged, ObjectGone):
            self._look_again(change.ref)
            raise
        self._now = self._now.having(done.ref, done.after)
        return done

    def _said(self, place: Place, knob: Knob, value: KnobValue) -> tuple[Mesh, Sequence[AnyChange]]:
        """The first mesh that can say the value, and its changes; Inexpressible with every mesh's reason."""
        if (why := shared_by(place, knob, self._followed)) is not None:
            raise Inexpressible(why)
        reasons: list[str] = []
        for mesh in self._looked().meshes:
            try:
                return mesh, mesh.changes(self._now, place, value)
            except Inexpressible as error:
                reasons.append(f"{mesh.name}: {error}")
        raise Inexpressible("; ".join(reasons))

    def _is_operators_own(self, target: Target, knob: Knob, value: KnobValue) -> bool:
        images = self._images.of_target(target, knob)
        return bool(images) and all(dict(i.value) == value_to_json(value) for i in images)

    def _given_back(self, target: Target, knob: Knob) -> list[Written]:
        """Restore the operator's own leaves, byte for byte, instead of saying the same value in our words."""
        done: list[Written] = []
        for image in self._images.of_target(target, knob):
            before = self._now.get(image.ref)
            self._writer.restore(image)
            done.append(Written(image.ref, before, self._fresh(image.ref)))
            self._now = self._now.having(image.ref, done[-1].after)
        return done

    def _followed(self, place: Place, knob: Knob) -> str | None:
        """The caller whose decision an object of this callee follows."""
        places = self._looked().places
        for edge, caller in places.edges_into(place.callee):
            if self._images.of_target(Target(TargetKind.EDGE, edge), knob):
                return caller
        return None

    def _kinds(self) -> frozenset[Kind]:
        """Kinds of the meshes that the API server serves; asked now and then."""
        now = time.monotonic()
        if self._discovered is None or now - self._discovered > DISCOVERED_S:
            wanted = {*CORE, *all_kinds(self._options.meshes)}
            self._served, self._discovered = installed(self._api, wanted), now
        return self._served

    def _look_again(self, ref: Ref) -> None:
        """At all objects of this one's kind beside it: it may have been made anew under another name."""
        found = dict(self._api.list_of(ref.kind, ref.namespace or None))
        self._now = self._now.with_anew(ref.kind, ref.namespace, found)

    def _fresh(self, ref: Ref) -> Body | None:
        try:
            return self._api.get(ref)
        except ObjectGone:
            return None

    def _looked(self) -> Read:
        if self._read is None:
            raise ControlPlaneError("the cluster's objects were not read yet: call read() first")
        return self._read
