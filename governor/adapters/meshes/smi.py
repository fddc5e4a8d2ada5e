"""SMI's TrafficSplit: weights of the services behind a root service, and nothing else.

The specification was archived in 2023; Linkerd's SMI extension still reads it. Weights are whole numbers,
relative to each other. `spec.backends` is one list, so it is changed in place and only where its owner allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange, Change
from governor.adapters.kubernetes_objects import Body, Found, Kind, Ref, Snapshot
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_smi import is_weight, violations
from governor.adapters.meshes.shares import Destination, service_key, service_names, shares_of, weight_edits
from governor.knobs import BackendWeights, Knob, KnobValue

_ONLY_WEIGHTS = "SMI's TrafficSplit has weights and nothing else"


@dataclass(frozen=True)
class Smi:
    """One served version of TrafficSplit."""

    kind: Kind
    name: str = "smi"
    confirming: frozenset[Kind] = frozenset()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """TrafficSplit alone."""
        return (self.kind,)

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """The shares of the service's split."""
        splits = self._splits(snapshot, place)
        if len(splits) != 1 or _matches(splits[0][1]):
            return {}
        shares = shares_of(_destinations(*splits[0]), place.backends)
        return {} if shares is None else {Knob.WEIGHTS: shares}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """Weights of the service's one split."""
        if not isinstance(value, BackendWeights):
            raise Inexpressible(_ONLY_WEIGHTS)
        splits = self._splits(snapshot, place)
        if not splits:
            raise Inexpressible(
                f"no TrafficSplit of namespace {place.callee.namespace} has spec.service {place.callee.name}: "
                "create one with its backends"
            )
        if len(splits) > 1:
            raise Inexpressible(f"{' and '.join(str(ref) for ref, _ in splits)} both split {place.callee.name}")
        ref, body = splits[0]
        if _matches(body):
            raise Inexpressible(f"{ref} splits only the requests that its spec.matches names")
        strange = [rule for rule in violations(ref.kind, body) if "not a whole number" in rule]
        if strange:
            raise Inexpressible(f"{ref}: {strange[0]}")
        edits = weight_edits(ref, _destinations(ref, body), value)
        return checked([Change(ref, edits)], snapshot, violations)

    def _splits(self, snapshot: Snapshot, place: Place) -> list[Found]:
        """All splits of the service; those for all requests alone, where there are any."""
        service = place.callee
        refs = snapshot.index(self.kind, _split_services).get(service.key, ())
        found = [(ref, snapshot.objects[ref]) for ref in refs]
        return [split for split in found if not _matches(split[1])] or found


def _split_services(ref: Ref, body: Body) -> Iterable[tuple[str, str]]:
    return [service_key(body["spec"]["service"], ref.namespace)]


def _matches(body: Body) -> bool:
    return bool(body["spec"].get("matches"))


def _destinations(ref: Ref, body: Body) -> list[Destination]:
    return [
        Destination(
            path=("spec", "backends", at, "weight"),
            names=service_names(backend["service"], ref.namespace),
            weight=float(backend["weight"]) if is_weight(backend["weight"]) else 0.0,
        )
        for at, backend in enumerate(body["spec"]["backends"])
    ]


def _split_kind(version: str) -> Kind:
    return Kind("split.smi-spec.io", version, "trafficsplits", "TrafficSplit")


MESH = Smi(_split_kind("v1alpha4"))
OLDER = Smi(_split_kind("v1alpha2"))
"""What Linkerd's samples use; the two are the same in all that is read here."""
