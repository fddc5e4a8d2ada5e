"""Writing changes to objects that others own, and giving them back as they were.

For each object: a server-side dry run, then the before-image, then the write itself. Leaves that nobody else
holds go by server-side apply without force, under a manager for each knob; leaves that their owner has set, and
all that stands in lists, go by JSON Patch and only where the owner's annotation says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_before import BeforeImage
from governor.adapters.kubernetes_edits import (
    ABSENT,
    AnyChange,
    Change,
    Edit,
    OwnObject,
    edited,
    in_list,
    in_words,
    value_at,
)
from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_images import BeforeImages
from governor.adapters.kubernetes_objects import Body, Kind, Ref
from governor.adapters.kubernetes_ownership import (
    MANAGED_BY,
    MANAGER,
    MAY_EDIT,
    delivered_by,
    is_ours,
    is_own,
    manager_of,
    may_edit,
    owners,
    rewriter,
    strange_opt_in,
)
from governor.adapters.kubernetes_patches import apply_body, json_patch
from governor.adapters.kubernetes_status import complaint, taken
from governor.errors import ControlPlaneError, WriteRejected, WriteUnconfirmed
from governor.knobs import Knob

POLL_S = 0.1
LOOKS = 3
"""How often a write is worked out, if its object changes between reading and writing."""
Result = TypeVar("Result")


def while_changed(act: Callable[[], Result]) -> Result:
    """What `act` gives, which begins with a look: it is done again if objects have changed since that.

    Controllers write an object's status whenever they like, and that makes another version of it as well.
    Raises ObjectChanged or ObjectGone after `LOOKS`.
    """
    for _ in range(LOOKS - 1):
        with suppress(ObjectChanged, ObjectGone):
            return act()
    return act()


@dataclass(frozen=True)
class _Request:
    """One write, which the server can also be asked to try without doing it."""

    ask: Callable[..., Body]

    def dry_run(self) -> None:
        self.ask(dry_run=True)

    def send(self) -> Body:
        return self.ask(dry_run=False)


@dataclass(frozen=True)
class Written:
    """One object before and after; None where there was none, or is none now."""

    ref: Ref
    before: Body | None
    after: Body | None
    undo: AnyChange | None = None
    """What makes it as it was; None if nothing was written."""


def obstacle(body: Body, change: Change, knob: Knob) -> str | None:
    """Why the governor must leave these leaves alone, or None."""
    if is_own(body):
        return None
    tool = rewriter(body)
    if tool is not None:
        return f"{change.ref} is rewritten by {tool}, the governor does not interfere"
    if may_edit(body, knob):
        return None
    for edit in change.edits:
        now = value_at(body, edit.path)
        if now == edit.value:
            continue
        if in_list(edit.path):
            return (
                f"{in_words(edit.path)} of {change.ref} stands in a list that its owner holds as a whole: "
                f"{_way_out(body, knob)}"
            )
        others = [name for name in owners(body, edit.path) if not is_ours(name)]
        if now is not ABSENT and (others or not owners(body, edit.path)):
            tool = delivered_by(body)
            through = f" (delivered by {tool})" if tool else ""
            return (
                f"{in_words(edit.path)} of {change.ref} is set by {', '.join(others) or 'its owner'}{through}: "
                f"{_way_out(body, knob)}"
            )
    return None


def _way_out(body: Body, knob: Knob) -> str:
    strange = strange_opt_in(body)
    noted = f" (it says {', '.join(strange)} now, which is no knob)" if strange else ""
    return f"annotate the object with {MAY_EDIT}: {knob.value} to let the governor change it{noted}"


class KubernetesWriter:
    """Makes changes in the cluster."""

    def __init__(self, api: KubernetesApi, images: BeforeImages, confirm_s: float = 10.0) -> None:
        self._api, self._images, self._confirm_s = api, images, confirm_s

    def make(
        self, change: AnyChange, now: Body | None, image: BeforeImage, confirming: frozenset[Kind]
    ) -> Written:
        """Make one change in the object as it was read (`now`); `image` says for which knob and what was before.

        Raises Inexpressible if the object's owner does not allow it, WriteRejected, WriteUnconfirmed,
        FieldConflict, ObjectChanged or ObjectGone; nothing is left changed then, except that after
        WriteUnconfirmed nobody knows.
        """
        if isinstance(change, OwnObject):
            return self._own(change, now, image, confirming)
        if now is None:
            raise ObjectGone(f"{change.ref} is not there; nothing was written")
        if (why := obstacle(now, change, image.knob)) is not None:
            raise Inexpressible(why)
        request = self._request(change, now, image.knob)
        if request is None:
            return Written(change.ref, now, now)
        request.dry_run()
        self._images.put(image.writing(now, change.edits, self._images.others(image)))
        after = self._sent(change, request)
        if change.ref.kind in confirming:
            after = self._confirmed(change, now, after, image)
        return Written(change.ref, now, after, _opposite(change, now))

    def restore(self, image: BeforeImage) -> str:
        """Give one object back to its owner, and forget the image; says what was found, empty if all was well."""
        return while_changed(partial(self._restored, image))

    def _restored(self, image: BeforeImage) -> str:
        image = self._images.of(*image.key) or image
        try:
            now = self._api.get(image.ref)
        except ObjectGone:
            self._images.drop(image)
            return "" if image.own else f"{image.ref} is gone, there is nothing to give back"
        if now["metadata"].get("uid") != image.uid and not image.own:
            self._images.drop(image)
            return f"{image.ref} was made anew by its owner, there is nothing to give back"
        heir = next(iter(self._images.others(image)), None)
        if image.own and heir is None:
            return self._deleted(image, now)
        if image.own and heir is not None:
            # Other knobs still hold leaves in this object: the last of them deletes it.
            self._images.put(replace(heir, own=True))
        edits, notes = self._images.returning(image, now, self._images.others(image))
        request = self._request(Change(image.ref, edits), now, image.knob)
        if request is not None:
            request.send()
        self._images.drop(image)
        return "; ".join(notes)

    def _deleted(self, image: BeforeImage, now: Body) -> str:
        if not is_own(now):
            self._images.drop(image)
            return f"{image.ref} no longer has the label {MANAGED_BY}: {MANAGER}: it is somebody else's now"
        self._api.delete(image.ref, now["metadata"]["uid"])
        self._images.drop(image)
        return ""

    def _own(
        self, change: OwnObject, now: Body | None, image: BeforeImage, confirming: frozenset[Kind]
    ) -> Written:
        if now is not None and not is_own(now):
            raise Inexpressible(f"{change.ref} is there already and is not the governor's: rename or delete it")
        if change.body is None:
            if now is None:
                return Written(change.ref, None, None)
            self._api.delete(change.ref, now["metadata"]["uid"])
            self._images.drop(image)
            return Written(change.ref, now, None, OwnObject(change.ref, _stripped(now)))
        body = own_body(change)
        self._api.apply(change.ref, body, MANAGER, force=True, dry_run=True)
        self._images.put(image)
        after = self._api.apply(change.ref, body, MANAGER, force=True)
        if change.ref.kind in confirming:
            after = self._await(change.ref, after)
        return Written(change.ref, now, after, OwnObject(change.ref, now and _stripped(now)))

    def _request(self, change: Change, now: Body, knob: Knob) -> _Request | None:
        """The request that makes the change; None if there is nothing to do."""
        manager = manager_of(knob)
        moved = [edit for edit in change.edits if value_at(now, edit.path) != edit.value]
        if not moved:
            return None
        ours = [edit for edit in change.edits if manager in owners(now, edit.path)]
        free = all(
            not in_list(edit.path)
            and all(is_ours(name) for name in owners(now, edit.path))
            and (value_at(now, edit.path) is ABSENT or manager in _applied_by(now, edit.path))
            for edit in moved
        )
        if free:
            # What is ours and stays must be said again, or applying would let go of it.
            kept = [edit for edit in ours if edit not in moved]
            body = apply_body(change.ref, [*moved, *kept], now)
            return _Request(partial(self._api.apply, change.ref, body, manager))
        return _Request(partial(self._api.patch, change.ref, json_patch(now, moved), manager))

    def _sent(self, change: Change, request: _Request) -> Body:
        """The write itself; if its answer is lost, the object says whether it arrived."""
        try:
            return request.send()
        except WriteUnconfirmed as lost:
            try:
                found = self._api.get(change.ref)
            except ControlPlaneError as error:
                raise lost from error
            if all(value_at(found, edit.path) == edit.value for edit in change.edits):
                return found
            raise

    def _confirmed(self, change: Change, before: Body, after: Body, image: BeforeImage) -> Body:
        try:
            return self._await(change.ref, after)
        except (WriteRejected, WriteUnconfirmed):
            undo = self._request(_opposite(change, before), self._api.get(change.ref), image.knob)
            if undo is not None:
                undo.send()
            raise

    def _await(self, ref: Ref, after: Body) -> Body:
        """The object once its controller has said that it took this generation."""
        until = time.monotonic() + self._confirm_s
        while True:
            said = taken(after)
            if said is True:
                return after
            if said is False:
                raise WriteRejected(f"{ref}: its controller refused it: {complaint(after)}; it was put back")
            if time.monotonic() >= until:
                raise WriteUnconfirmed(
                    f"{ref}: its controller said nothing of generation {after['metadata'].get('generation')} "
                    f"within {self._confirm_s:g} s: does it run? The old value was put back"
                )
            time.sleep(POLL_S)
            after = self._api.get(ref)


def own_body(change: OwnObject) -> Body:
    """The governor's own object as it is applied: its name, and the label that says whose it is."""
    metadata = dict((change.body or {}).get("metadata") or {})
    metadata |= {"name": change.ref.name, "labels": {**(metadata.get("labels") or {}), MANAGED_BY: MANAGER}}
    if change.ref.namespace:
        metadata["namespace"] = change.ref.namespace
    kind = {"apiVersion": change.ref.kind.api_version, "kind": change.ref.kind.kind}
    return edited({**kind, **(change.body or {}), "metadata": metadata}, ())


def _opposite(change: Change, before: Body) -> Change:
    return Change(change.ref, tuple(Edit(edit.path, value_at(before, edit.path)) for edit in change.edits))


def _stripped(body: Body) -> Body:
    """An object of ours as it can be applied again: without what the server adds."""
    kept = {key: value for key, value in body.items() if key not in {"status", "metadata"}}
    metadata = body.get("metadata", {})
    return kept | {"metadata": {key: metadata[key] for key in ("labels", "annotations") if key in metadata}}


def _applied_by(body: Body, path: tuple[str | int, ...]) -> tuple[str, ...]:
    entries = body.get("metadata", {}).get("managedFields") or ()
    applied = [entry for entry in entries if entry.get("operation") == "Apply"]
    return owners({"metadata": {"managedFields": applied}}, path)
