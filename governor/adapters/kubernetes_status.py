"""What an object's controller says of it: conditions that name the generation they are about.

Source: Gateway API, "Status and conditions"; Kubernetes API conventions, "Typical status properties".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from governor.adapters.kubernetes_objects import Body

COUNT = frozenset({"Accepted", "ResolvedRefs", "Programmed"})
"""Condition types that must not be false. `Programmed` is absent from routes and policies."""
HARMLESS = frozenset({"AddressNotAssigned"})
"""Reasons of a false condition that say nothing about what was written."""


def conditions_of(body: Body) -> Sequence[Mapping[str, Any]]:
    """All conditions of `status.conditions`, `status.parents[]` and `status.ancestors[]`."""
    status = body.get("status") or {}
    found = list(status.get("conditions") or ())
    for group in ("parents", "ancestors"):
        for entry in status.get(group) or ():
            found += entry.get("conditions") or ()
    return found


def taken(body: Body) -> bool | None:
    """Whether the controller took this generation of the object; None while it has not spoken of it."""
    generation = body.get("metadata", {}).get("generation")
    counted = [c for c in conditions_of(body) if c.get("type") in COUNT]
    current = [c for c in counted if c.get("observedGeneration") == generation]
    if any(_against(c) for c in current):
        return False
    if len(current) < len(counted) or not any(c.get("type") == "Accepted" for c in current):
        return None
    return True


def complaint(body: Body) -> str:
    """What the controller says against this object."""
    said = [f"{c.get('type')}: {c.get('reason')}: {c.get('message')}" for c in conditions_of(body) if _against(c)]
    return "; ".join(said) or "no reason given"


def _against(condition: Mapping[str, Any]) -> bool:
    return (
        condition.get("type") in COUNT
        and condition.get("status") == "False"
        and condition.get("reason") not in HARMLESS
    )
