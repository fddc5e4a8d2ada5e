"""Kubernetes objects as the governor holds them: what kind, which one, and its content as plain JSON data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Body = Mapping[str, Any]
"""An object as the API gives it."""


@dataclass(frozen=True, order=True)
class Kind:
    """One resource of the API, for example `networking.istio.io/v1 VirtualService`."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    """As in the address, for example `virtualservices`."""
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, order=True)
class Ref:
    """One object: its kind, namespace (empty for cluster-wide kinds) and name."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.kind} {where}{self.name}"


Found = tuple[Ref, Body]
Keys = Callable[[Ref, Body], Iterable[Hashable]]
SERVICE = Kind("", "v1", "services", "Service")
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All objects that were read for one cycle."""

    objects: Mapping[Ref, Body] = field(default_factory=dict)
    installed: frozenset[Kind] = frozenset()
    """Kinds that this API server serves, of those that were asked for."""

    def of(self, kind: Kind, namespace: str | None = None) -> Iterator[Found]:
        """Objects of one kind in order of namespace and name, those of one namespace only if it is given."""
        for ref in self._by_kind.get(kind, ()):
            if namespace is None or ref.namespace == namespace:
                yield ref, self.objects[ref]

    def get(self, ref: Ref) -> Body | None:
        """The object, None if there is none."""
        return self.objects.get(ref)

    def index(self, kind: Kind, keys: Keys) -> Mapping[Hashable, tuple[Ref, ...]]:
        """Objects of one kind by what `keys` says of each, a plain function; worked out once for a snapshot."""
        known = self._indexes.get((kind, keys))
        if known is None:
            found: dict[Hashable, list[Ref]] = {}
            for ref, body in self.of(kind):
                for key in keys(ref, body):
                    found.setdefault(key, []).append(ref)
            known = self._indexes[kind, keys] = {key: tuple(refs) for key, refs in found.items()}
        return known

    def having(self, ref: Ref, body: Body | None) -> Snapshot:
        """This snapshot after one write of the governor's own (None: deleted), which changes no object's purpose.

        Indexes are kept where no object was made or deleted.
        """
        objects = dict(self.objects)
        objects.pop(ref, None)
        if body is not None:
            objects[ref] = body
        changed = Snapshot(objects, self.installed)
        if (ref in self.objects) == (body is not None):
            changed.__dict__.update(_by_kind=self._by_kind, _indexes=self._indexes)
        return changed

    def with_anew(self, kind: Kind, namespace: str, found: Mapping[Ref, Body]) -> Snapshot:
        """This snapshot after another look at all objects of one kind in one namespace (empty: in all)."""
        kept = {
            ref: body
            for ref, body in self.objects.items()
            if ref.kind != kind or (namespace and ref.namespace != namespace)
        }
        return Snapshot({**kept, **found}, self.installed)

    @cached_property
    def _indexes(self) -> dict[tuple[Kind, Keys], Mapping[Hashable, tuple[Ref, ...]]]:
        return {}

    @cached_property
    def _by_kind(self) -> Mapping[Kind, tuple[Ref, ...]]:
        found: dict[Kind, list[Ref]] = {}
        for ref in sorted(self.objects):
            found.setdefault(ref.kind, []).append(ref)
        return {kind: tuple(refs) for kind, refs in found.items()}


def annotations_of(body: Body) -> Mapping[str, str]:
    """The object's annotations."""
    found: Mapping[str, str] = body.get("metadata", {}).get("annotations") or {}
    return found


def labels_of(body: Body) -> Mapping[str, str]:
    """The object's labels."""
    found: Mapping[str, str] = body.get("metadata", {}).get("labels") or {}
    return found
