"""Retries and timeouts on the routes that lead to an edge. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from governor.adapters.envoy_files_change import Edit, Inexpressible, duration, number, whole
from governor.adapters.envoy_files_store import Document
from governor.adapters.envoy_files_values import Catalogue, retries_of
from governor.knobs import Timeout


def attempts_edits(files: Catalogue, edge: str, attempts: int | None) -> Iterator[Edit]:
    if attempts is None or whole(files.attempts(edge)) == attempts:
        return
    actions = _actions(files, edge, "retries")
    if not all("retry_policy" in action for action in actions):
        raise Inexpressible(
            f"a route to {edge} has no retry_policy of its own: which failures may be retried is the operator's to "
            "say; add one with retry_on"
        )
    if len({retries_of(action["retry_policy"]) for action in actions}) > 1:
        raise Inexpressible(f"the routes to {edge} retry differently: one number would flatten them")

    def change(action: Document) -> None:
        action["retry_policy"]["num_retries"] = attempts

    yield from _routes(files, edge, change)


def timeout_edits(files: Catalogue, edge: str, value: Timeout) -> Iterator[Edit]:
    now = Timeout(*(number(v) for v in files.timeouts(edge)))
    if now == value:
        return
    actions = _actions(files, edge, "a timeout")
    if len({action.get("timeout") for action in actions}) > 1:
        raise Inexpressible(f"the routes to {edge} have different timeouts: one number would flatten them")
    per_try = [action.get("retry_policy", {}).get("per_try_timeout") for action in actions]
    if value.per_try_s != now.per_try_s:
        if len(set(per_try)) > 1 or not all("retry_policy" in action for action in actions):
            raise Inexpressible(f"the routes to {edge} have no retry_policy that could hold one per-try timeout")
    for limit in (value.request_s, value.per_try_s):
        if limit is not None and limit <= 0:
            raise Inexpressible(f"a timeout of {limit} s would mean none to Envoy")

    def change(action: Document) -> None:
        if value.request_s != now.request_s:
            action["timeout"] = duration(value.request_s or 0.0)
        if value.per_try_s != now.per_try_s:
            action["retry_policy"].pop("per_try_timeout", None)
            if value.per_try_s is not None:
                action["retry_policy"]["per_try_timeout"] = duration(value.per_try_s)

    yield from _routes(files, edge, change)


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
