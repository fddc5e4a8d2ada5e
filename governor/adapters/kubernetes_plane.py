"""The knobs of the meshes of a Kubernetes cluster: one ControlPlane, whatever meshes there are.

Which objects say a value, and how, is each mesh's own file (`adapters/meshes/`). Here is what they share: one
look at all objects in each cycle, who may write where several callers share an object, and what happens to a
write whose object has changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_before import BeforeImage
from governor.adapters.kubernetes_discovery import CORE, installed, present, snapshot
from governor.adapters.kubernetes_edits import AnyChange, Change, OwnObject
from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_images import BeforeImages
from governor.adapters.kubernetes_objects import Body, Ref, Snapshot
from governor.adapters.kubernetes_places import Places, index_of, setting_of, shared_by
from governor.adapters.kubernetes_state import Read, state_of, version_of
from governor.adapters.kubernetes_writer import KubernetesWriter, Written, obstacle
from governor.adapters.meshes.mesh import Mesh, Place
from governor.domain import MeshIndex
from governor.errors import ControlPlaneError
from governor.knobs import Knob, KnobState, KnobValue, Proposal, Receipt, Target, value_from_json, value_to_json

TRIES = 3
"""How often a write is worked out anew because its object changed between reading and writing."""


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


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the last look gave."""

    snapshot: Snapshot
    places: Places
    meshes: tuple[Mesh, ...]
    state: KnobState | None
    """None after a write, until the next look."""


class KubernetesControlPlane:
    """ControlPlane over one cluster; `fence` is called just before each write and raises if it must not be."""

    def __init__(
        self,
        api: KubernetesApi,
        options: PlaneOptions,
        fence: Callable[[], None] = lambda: None,
        tell: Callable[[Written, Target, Knob, KnobValue, KnobValue], None] = lambda *_: None,
    ) -> None:
        self._api, self._options, self._tell = api, options, tell
        self._images = BeforeImages(api, options.namespace)
        self._writer = KubernetesWriter(api, self._images, fence, options.confirm_s)
        self._seen: _Seen | None = None
        self._read: Read | None = None

    def read(self, index: MeshIndex) -> KnobState:
        """Settings in force as the objects say; ControlPlaneError if the API server does not give them."""
        kinds = {*CORE, *(kind for mesh in self._options.meshes for kind in mesh.kinds)}
        served = installed(self._api, kinds)
        meshes = present(self._options.meshes, served, named=self._options.named)
        if not meshes:
            wanted = ", ".join(mesh.name for mesh in self._options.meshes)
            raise ControlPlaneError(
                f"none of the meshes {wanted} is installed in this cluster: it serves no resources of theirs"
            )
        self._images.load()
        found = snapshot(self._api, served, self._options.namespaces)
        old = self._seen
        if old is not None and old.state is not None and old.places.index is index and _same(old.snapshot, found):
            return old.state
        places = Places(index, found)
        state = state_of(meshes, found, places, self._read if meshes == (old and old.meshes) else None)
        self._read = Read(found, places, state)
        self._seen = _Seen(found, places, meshes, state)
        return state

    def refusal(self, proposal: Proposal) -> str | None:
        """Why the objects cannot say what is proposed, or may not be made to; None if they can."""
        seen = self._looked()
        try:
            place = seen.places.of(proposal.target)
            mesh, changes = self._said(seen, place, proposal.knob, proposal.proposed)
            for change in changes:
                now = seen.snapshot.get(change.ref)
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
        if self._seen is None:
            # A command that undoes one decision has no frame: the target's name says where it is.
            self.read(index_of(target))
        for attempt in range(1, TRIES + 1):
            try:
                return self._write(target, knob, value)
            except (ObjectChanged, ObjectGone) as error:
                if attempt == TRIES or not self._again(error):
                    raise
        raise AssertionError("the loop returns or raises")

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
        seen = self._looked()
        try:
            place = seen.places.of(target)
            mesh, changes = self._said(seen, place, knob, value)
        except Inexpressible as error:
            raise ControlPlaneError(f"{knob.value} of {target}: {error}; nothing was written") from error
        before = setting_of(seen.meshes, seen.snapshot, place, knob)
        written: list[Written] = []
        try:
            if self._is_operators_own(target, knob, value):
                written += self._given_back(target, knob)
            else:
                for change in changes:
                    done = self._make(change, target, knob, before, mesh)
                    written.append(done)
                    self._saw(done)
        except (Inexpressible, ControlPlaneError) as error:
            for done in reversed(written):
                if done.undo is not None:
                    self._saw(self._make(done.undo, target, knob, before, mesh))
            if isinstance(error, Inexpressible):
                raise ControlPlaneError(f"{knob.value} of {target}: {error}; nothing was written") from error
            raise
        now = self._looked().snapshot
        after = setting_of(seen.meshes, now, place, knob)
        for done in written:
            if done.undo is not None:
                self._tell(done, target, knob, before, after)
        versions = {str(done.ref): _version(done.after) for done in written}
        return Receipt(target, knob, before, after, ", ".join(versions.values()), versions)

    def _make(self, change: AnyChange, target: Target, knob: Knob, before: KnobValue, mesh: Mesh) -> Written:
        now = self._looked().snapshot.get(change.ref)
        known = self._images.of(change.ref, knob)
        uid = str((now or {}).get("metadata", {}).get("uid", ""))
        if known is not None and known.uid != uid and not known.own:
            known = None  # the object was made anew: what stood in the old one is no longer owed to anybody
        own = isinstance(change, OwnObject)
        image = known or BeforeImage(change.ref, uid, target, knob, value_to_json(before), own=own)
        return self._writer.make(change, now, image, mesh.confirming)

    def _said(self, seen: _Seen, place: Place, knob: Knob, value: KnobValue) -> tuple[Mesh, Sequence[AnyChange]]:
        """The first mesh that can say the value, and its changes; Inexpressible with every mesh's reason."""
        if (why := shared_by(place, knob, self._followed)) is not None:
            raise Inexpressible(why)
        reasons: list[str] = []
        for mesh in seen.meshes:
            try:
                return mesh, mesh.changes(seen.snapshot, place, value)
            except Inexpressible as error:
                reasons.append(f"{mesh.name}: {error}")
        raise Inexpressible("; ".join(reasons))

    def _is_operators_own(self, target: Target, knob: Knob, value: KnobValue) -> bool:
        images = [i for i in self._images if i.target == target and i.knob is knob]
        return bool(images) and all(dict(i.value) == value_to_json(value) for i in images)

    def _given_back(self, target: Target, knob: Knob) -> list[Written]:
        """Restore the operator's own leaves, byte for byte, instead of saying the same value in our words."""
        done: list[Written] = []
        for image in self._images:
            if image.target == target and image.knob is knob:
                before = self._looked().snapshot.get(image.ref)
                self._writer.restore(image)
                done.append(Written(image.ref, before, self._fresh(image.ref)))
                self._saw(done[-1])
        return done

    def _followed(self, place: Place, knob: Knob) -> str | None:
        """The caller whose decision an object of this callee follows."""
        index = self._looked().places.index
        for image in self._images:
            if image.knob is knob and image.target.name in index.edge_position:
                edge = index.edge_position[image.target.name]
                if index.services[int(index.edge_callee[edge])] == place.callee.host:
                    return index.services[int(index.edge_caller[edge])]
        return None

    def _again(self, error: ControlPlaneError) -> bool:
        """Look again at all objects of one cycle; false if there was no look yet."""
        del error
        if self._seen is None:
            return False
        index, self._seen = self._seen.places.index, None
        self.read(index)
        return True

    def _fresh(self, ref: Ref) -> Body | None:
        try:
            return self._api.get(ref)
        except ObjectGone:
            return None

    def _saw(self, done: Written) -> None:
        """Take what was written into the picture, so that later writes of this cycle start from it."""
        seen = self._looked()
        now = seen.snapshot.having({done.ref: done.after})
        self._seen = replace(seen, snapshot=now, state=None)

    def _looked(self) -> _Seen:
        if self._seen is None:
            raise ControlPlaneError("the cluster's objects were not read yet: call read() first")
        return self._seen


def _version(body: Body | None) -> str:
    return "deleted" if body is None else version_of(body)


def _same(one: Snapshot, other: Snapshot) -> bool:
    return one.objects.keys() == other.objects.keys() and all(
        _version(body) == _version(other.objects[ref]) for ref, body in one.objects.items()
    )
