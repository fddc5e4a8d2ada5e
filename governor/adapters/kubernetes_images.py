"""The before-images in the cluster: kept in step with ConfigMaps of the governor's own namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_before import LABEL, BeforeImage, from_config_map, name_of, to_config_map
from governor.adapters.kubernetes_edits import ABSENT, Edit, FieldPath, edited, in_words, value_at
from governor.adapters.kubernetes_objects import CONFIG_MAP, Body, Ref
from governor.adapters.kubernetes_ownership import MANAGER
from governor.adapters.kubernetes_patches import located
from governor.knobs import Knob, Target


class BeforeImages:
    """All before-images, by object and knob."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._of_object: dict[Ref, dict[Knob, BeforeImage]] = {}
        self._of_target: dict[tuple[Target, Knob], dict[Ref, BeforeImage]] = {}

    def load(self) -> None:
        """Read them all: another leader may have written some. ControlPlaneError naming a damaged one."""
        found = [
            from_config_map(body) for _, body in self._api.list_of(CONFIG_MAP, self._namespace, f"{LABEL}=true")
        ]
        self._of_object, self._of_target = {}, {}
        for image in found:
            self._remember(image)

    def __iter__(self) -> Iterator[BeforeImage]:
        return iter([image for images in self._of_object.values() for image in images.values()])

    def of(self, ref: Ref, knob: Knob) -> BeforeImage | None:
        """The image of one knob in one object, None if the governor has changed nothing there."""
        return self._of_object.get(ref, {}).get(knob)

    def of_target(self, target: Target, knob: Knob) -> tuple[BeforeImage, ...]:
        """Images of all objects in which one knob of one target was set."""
        return tuple(self._of_target.get((target, knob), {}).values())

    def others(self, image: BeforeImage) -> tuple[BeforeImage, ...]:
        """Images of other knobs in the same object."""
        return tuple(
            other for knob, other in self._of_object.get(image.ref, {}).items() if knob is not image.knob
        )

    def put(self, image: BeforeImage) -> None:
        """Keep an image, in the cluster before in memory."""
        if self.of(*image.key) == image:
            return
        ref, body = to_config_map(image, self._namespace)
        self._api.apply(ref, body, MANAGER, force=True)
        self._forget(image)
        self._remember(image)

    def drop(self, image: BeforeImage) -> None:
        """Forget an image: its object is its owner's again."""
        self._api.delete(Ref(CONFIG_MAP, self._namespace, name_of(image.ref, image.knob)))
        self._forget(image)

    def _remember(self, image: BeforeImage) -> None:
        self._of_object.setdefault(image.ref, {})[image.knob] = image
        self._of_target.setdefault((image.target, image.knob), {})[image.ref] = image

    def _forget(self, image: BeforeImage) -> None:
        known = self._of_object.get(image.ref, {}).pop(image.knob, None)
        if known is not None:
            del self._of_target[known.target, known.knob][known.ref]

    @staticmethod
    def returning(
        image: BeforeImage, now: Body, others: Sequence[BeforeImage] = ()
    ) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
        """Edits that put back what the owner had, and notes on leaves that somebody else has changed since.

        A leaf that one of `others`, the images of other knobs in this object, holds as well becomes what that
        knob had written.
        """
        edits: list[Edit] = []
        notes: list[str] = []
        for leaf in image.leaves:
            here = located(now, leaf.path, leaf.elements)
            where = f"{in_words(leaf.path)} of {image.ref}"
            if here is None:
                notes.append(f"{where}: its owner has rewritten the list, it stays as it is")
                continue
            held = [found.ours[-1] for other in others if (found := other.leaf(leaf.path)) and found.ours]
            before = held[0] if held else leaf.before
            value = value_at(now, here)
            if value == before or not leaf.ours:
                continue
            if value not in leaf.ours:
                if not held:
                    said = "taken away" if value is ABSENT else f"set to {value!r}"
                    notes.append(f"{where} was {said} by somebody else, it stays so")
                continue
            edits.append(Edit(here, before))
        left = edited(now, edits)
        for leaf in image.leaves:
            here = located(now, leaf.path, leaf.elements)
            if not leaf.ours and here is not None and value_at(left, here) is ABSENT and _emptied(here, edits):
                edits.append(Edit(here, leaf.before))
        return tuple(edits), tuple(notes)


def _emptied(path: FieldPath, edits: Sequence[Edit]) -> bool:
    """Whether one of `edits` takes away what a mapping held: it goes with its last leaf."""
    return any(edit.value is ABSENT and edit.path[: len(path)] == path for edit in edits)
