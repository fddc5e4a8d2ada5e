"""Retries and timeouts on the routes that lead to an edge. Pure."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

from governor.adapters.envoy_files_change import SAME, Edit, duration, number, whole
from governor.adapters.envoy_files_store import Document
from governor.adapters.envoy_files_values import Catalogue, retries_of
from governor.adapters.inexpressible import Inexpressible
from governor.knobs import Timeout


def attempts_edits(files: Catalogue, edge: str, attempts: int | None) -> Iterator[Edit]:
    """`num_retries` of every route to the edge; Inexpressible if one number cannot say it."""
    if attempts is None or whole(files.attempts(edge)) == attempts:
        return
    actions = _actions(files, edge, "retries")
    if not all("retry_policy" in action for action in actions):
        raise Inexpressible(
            f"a route to {edge} has no retry_policy of its own: which failures may be retried is the operator's "
            "to say; add one with retry_on"
        )
    if len({retries_of(action["retry_policy"]) for action in actions}) > 1:
        raise Inexpressible(f"the routes to {edge} retry differently: one number would flatten them")

    def change(action: Document) -> None:
        action["retry_policy"]["num_retries"] = attempts

    yield from _routes(files, edge, change)


def timeout_edits(files: Catalogue, edge: str, value: Timeout) -> Iterator[Edit]:
    """Request and per-try timeout of every route to the edge; Inexpressible if one number cannot say it."""
    whole_now, try_now = (number(v) for v in files.timeouts(edge))
    move_whole = not _close(value.request_s, whole_now)
    move_try = not _close(value.per_try_s, try_now)
    if not (move_whole or move_try):
        return
    if any(limit is not None and limit <= 0 for limit in (value.request_s, value.per_try_s)):
        raise Inexpressible("a timeout of 0 s would mean none to Envoy")
    actions = _actions(files, edge, "a timeout")
    if len({action.get("timeout") for action in actions}) > 1:
        raise Inexpressible(f"the routes to {edge} have different timeouts: one number would flatten them")
    if move_try:
        _require_one_retry_policy(actions, edge)

    def change(action: Document) -> None:
        if move_whole:
            action["timeout"] = duration(value.request_s or 0.0)
        if move_try:
            action["retry_policy"].pop("per_try_timeout", None)
        if move_try and value.per_try_s is not None:
            action["retry_policy"]["per_try_timeout"] = duration(value.per_try_s)

    yield from _routes(files, edge, change)


def _require_one_retry_policy(actions: Sequence[Document], edge: str) -> None:
    policies = [action.get("retry_policy") for action in actions]
    if not all(policies):
        raise Inexpressible(f"a route to {edge} has no retry_policy that could hold a per-try timeout")
    if len({policy.get("per_try_timeout") for policy in policies if policy}) > 1:
        raise Inexpressible(f"the routes to {edge} have different per-try timeouts, no one number")


def _close(first: float | None, second: float | None) -> bool:
    """Whether two timeouts are the same, one of them perhaps read through a float32."""
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=SAME)


def _actions(files: Catalogue, edge: str, what: str) -> list[Document]:
    places = files.routes.get(edge, [])
    if not places:
        raise Inexpressible(f"no route in rds/ leads to {edge}: {what} cannot be set without one")
    actions: list[Document] = [files.route(place)["route"] for place in places]
    if any("weighted_clusters" in action for action in actions):
        raise Inexpressible(f"a route to {edge} splits between clusters: {what} there is not this edge's alone")
    return actions


def _routes(files: Catalogue, edge: str, change: Callable[[Document], None]) -> Iterator[Edit]:
    """One edit for each file with routes to `edge`."""
    places = files.routes[edge]
    for path in dict.fromkeys(place.path for place in places):
        document = copy.deepcopy(files.files[path].document)
        names = []
        for _, resource, host, route in (place for place in places if place.path == path):
            found = document["resources"][resource]
            change(found["virtual_hosts"][host]["routes"][route]["route"])
            names.append(found["name"])
        if document != files.files[path].document:
            yield Edit("rds", names[0], path, document)
