"""No change of ours may break a rule of the mesh that no schema holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange, Change, edited
from governor.adapters.kubernetes_objects import Body, Kind, Ref, Snapshot

Violations = Callable[[Kind, Body], list[str]]
"""What an admission webhook would say of an object, in words; empty if it would take it."""


def checked(changes: Sequence[AnyChange], snapshot: Snapshot, violations: Violations) -> Sequence[AnyChange]:
    """`changes` as they are; Inexpressible if one of them breaks a rule that its object kept before."""
    made: dict[Ref, Body] = {}
    for change in changes:
        now: Body = made.get(change.ref) or snapshot.get(change.ref) or {}
        if isinstance(change, Change):
            after: dict[str, Any] = edited(now, change.edits)
        elif change.body is None:
            continue
        else:
            after = dict(change.body)
        made[change.ref] = after
        # The user's own mistakes were there before and are not judged.
        before = violations(change.ref.kind, now)
        broken = [rule for rule in violations(change.ref.kind, after) if rule not in before]
        if broken:
            raise Inexpressible(f"{change.ref} would be refused: {broken[0]}")
    return changes
