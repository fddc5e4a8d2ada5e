"""What every mesh's file has: which objects it reads, what they say of a service, and how they say a value.

Pure: objects in, values and changes out. Reading, writing, ownership and undoing are the same for all meshes and
stand in `adapters/kubernetes_*.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Kind, Snapshot
from governor.knobs import Knob, KnobValue

_HOST = re.compile(
    r"(?P<name>[a-z0-9]([-a-z0-9]*[a-z0-9])?)\.(?P<namespace>[a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc(\..+)?"
)

ServiceKey = tuple[str, str]
"""Name and namespace of a Kubernetes service."""


@dataclass(frozen=True, order=True)
class Service:
    """A Kubernetes service."""

    name: str
    namespace: str
    host: str
    """As metrics and Istio call it: `name.namespace.svc.cluster.local`."""

    @property
    def key(self) -> ServiceKey:
        """What objects call it."""
        return self.name, self.namespace


def service_of(host: str) -> Service | None:
    """The service that a host name stands for; None if it is no Kubernetes host (name.namespace.svc...)."""
    match = _HOST.fullmatch(host)
    return None if match is None else Service(match["name"], match["namespace"], host)


@dataclass(frozen=True)
class Place:
    """Where a knob sits: one edge, or one API and the edge through which it enters."""

    callee: Service
    caller: str
    """Name of the calling service in the mesh's index; not always a Kubernetes host (a gateway, say)."""
    callers: tuple[str, ...]
    """All services that call this callee, `caller` among them."""
    backends: tuple[str, ...] = ()
    """Names of the edge's backends in the index: subsets, versions or services."""
    caller_proxies: int = 1
    """Proxies of the caller, for limits that each proxy counts by itself."""
    clusters: float = 1.0
    """Clusters of a proxy over which its requests are spread, each counting by itself; set by a mesh's file."""
    callee_proxies: int = 1
    """Proxies of the callee."""
    api: str | None = None
    """The API, where the knob sits on one."""
    apis: tuple[str, ...] = ()
    """All APIs that enter by this edge, `api` among them."""

    @property
    def counters(self) -> float:
        """How many count by themselves: what each may have is the whole over this."""
        return self.caller_proxies * self.clusters


class Mesh(Protocol):
    """One mesh's objects. Its file is a module-level instance of a small frozen class."""

    @property
    def name(self) -> str:
        """As in settings, `policies/capabilities/<name>.yaml` and docs: istio, istio-ambient, linkerd, ..."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds that it reads; the first must be installed for the mesh to be there at all."""

    @property
    def confirming(self) -> frozenset[Kind]:
        """Kinds whose status says whether their controller took them (conditions with observedGeneration)."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the objects say of this place, only knobs of which they say anything.

        Values are of the whole edge: what each proxy counts is multiplied by `caller_proxies`.
        """

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """The changes that make `value` so; a None in it takes the setting away.

        Never writes a field that the value does not name. Raises Inexpressible naming the object and the reason.
        """
