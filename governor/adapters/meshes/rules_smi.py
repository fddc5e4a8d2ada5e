"""Rules of SMI's TrafficSplit that its schema does not hold: a number there may be anything.

Source: the TrafficSplit specification, v1alpha2 to v1alpha4.
"""

from __future__ import annotations

from governor.adapters.kubernetes_objects import Body, Kind


def violations(kind: Kind, body: Body) -> list[str]:
    """What is wrong with an object, in words."""
    if kind.kind != "TrafficSplit":
        return []
    backends = body.get("spec", {}).get("backends") or []
    found = [
        f"spec.backends[{at}].weight is {backend.get('weight')!r}, not a whole number of at least 0"
        for at, backend in enumerate(backends)
        if not is_weight(backend.get("weight"))
    ]
    if not found and backends and not any(backend["weight"] for backend in backends):
        found.append("the weights of spec.backends are all zero")
    return found


def is_weight(number: object) -> bool:
    """Whether SMI takes this as a weight."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
