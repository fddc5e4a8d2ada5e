"""Shares of traffic as the weights of named destinations in one object, and back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Edit, FieldPath
from governor.adapters.kubernetes_objects import Ref
from governor.adapters.manifests import largest_remainder
from governor.knobs import BackendWeights


def whole_percent(share: float) -> int:
    """A share in whole percent, rounded down; 0.29 * 100 is a little less than the 29 that it means."""
    return math.floor(share * 100 + 1e-6)


@dataclass(frozen=True)
class Destination:
    """One entry of an object's list of destinations."""

    path: FieldPath
    """Of its weight."""
    names: tuple[str, ...]
    """All names that metrics may have for it; the first is the one in the object."""
    weight: float
    """In force now, relative to those of the others."""


def service_key(name: str, namespace: str) -> tuple[str, str]:
    """Name and namespace of a Kubernetes service, which an object in `namespace` calls `name`."""
    short, _, rest = name.partition(".")
    return short, rest.split(".")[0] or namespace


def service_names(name: str, namespace: str) -> tuple[str, ...]:
    """The spellings of a Kubernetes service's name: short, with its namespace, and as DNS has it."""
    short, namespace = service_key(name, namespace)
    return short, f"{short}.{namespace}", f"{short}.{namespace}.svc", f"{short}.{namespace}.svc.cluster.local"


def shares_of(destinations: Sequence[Destination], backends: Iterable[str]) -> BackendWeights | None:
    """Each destination's share under the name that `backends` has for it; None if nothing gets traffic."""
    total = sum(destination.weight for destination in destinations)
    if total <= 0:
        return None
    known = frozenset(backends)
    found: dict[str, float] = {}
    for destination in destinations:
        name = next((name for name in destination.names if name in known), destination.names[0])
        found[name] = found.get(name, 0.0) + destination.weight / total
    return BackendWeights(tuple(found.items()))


def weight_edits(
    ref: Ref,
    destinations: Sequence[Destination],
    value: BackendWeights,
    numbers: Callable[[Sequence[float]], list[int]] = largest_remainder,
) -> tuple[Edit, ...]:
    """Whole weights, one for each destination that `value` names: what `numbers` makes of shares (sum 100).

    Raises Inexpressible if a destination with traffic is not named, or a named one is not in the object.
    """
    twice = [name for name, count in Counter(d.names[0] for d in destinations).items() if count > 1]
    if twice:
        raise Inexpressible(f"{ref} names {twice[0]} more than once: give it one entry with one weight")
    found = []
    for name, share in value.shares:
        destination = next((d for d in destinations if name in d.names), None)
        if destination is not None:
            found.append((destination, share))
        elif share > 0:
            raise Inexpressible(f"{ref} has no destination {name}: add it there with weight 0 first")
    if sum(share for _, share in found) <= 0:
        raise Inexpressible(f"the weights of {ref} must not all be zero: nobody would get its traffic")
    named = [destination for destination, _ in found]
    for destination in destinations:
        if destination not in named and destination.weight > 0:
            raise Inexpressible(
                f"{destination.names[0]} gets traffic by {ref} and was not seen in the metrics: "
                "its share would change unasked"
            )
    weights = numbers([share for _, share in found])
    return tuple(Edit(d.path, weight) for d, weight in zip(named, weights, strict=True))
