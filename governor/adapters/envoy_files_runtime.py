"""Circuit breakers and retry budgets as runtime keys: no cluster is rebuilt, no connection dropped. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from governor.adapters.envoy_files_change import SAME, Edit, whole
from governor.adapters.envoy_files_values import BREAKERS, PRIORITIES, Catalogue
from governor.adapters.inexpressible import Inexpressible


def breaker_edits(files: Catalogue, edge: str, values: Mapping[tuple[str, str], int | None]) -> Iterator[Edit]:
    """Circuit breakers by (priority, key); None: the cluster's own value."""
    changes: dict[str, float | None] = {}
    for (priority, key), value in values.items():
        if value is not None and value < 0:
            raise Inexpressible(f"{key} of {value} is below zero")
        now, own = files.breaker(edge, priority, key), files.static_breaker(edge, priority, key)
        if whole(now) != value:
            # The operator's own value needs no key: the layer holds only what differs from it.
            changes[f"{BREAKERS}.{edge}.{priority}.{key}"] = None if value in (None, whole(own)) else value
    yield from _runtime(files, changes)


def budget_edits(files: Catalogue, edge: str, budget: float | None) -> Iterator[Edit]:
    """A budget of 0 needs the floor at 0 too: Envoy lets `min_retry_concurrency` retries pass any budget."""
    if budget is not None and not 0.0 <= budget <= 1.0:
        raise Inexpressible(f"a retry budget of {budget} is not within 0..1")
    now = files.retry_budget(edge)
    if (math.isnan(now) and budget is None) or (budget is not None and abs(now - budget) < SAME):
        return
    own = files.static_retry_budget(edge)
    given_back = budget is None or abs(own - budget) < SAME
    changes: dict[str, float | None] = {}
    for priority in PRIORITIES:
        key = f"{BREAKERS}.{edge}.{priority}.retry_budget"
        floor = 0 if budget == 0 else files.min_retry_concurrency(edge, priority)
        changes[f"{key}.budget_percent"] = None if given_back else round(100.0 * (budget or 0.0), 4)
        changes[f"{key}.min_retry_concurrency"] = None if given_back else floor
    yield from _runtime(files, changes)


def _runtime(files: Catalogue, changes: Mapping[str, float | None]) -> Iterator[Edit]:
    layer = files.layer()
    changes = {
        key: value
        for key, value in changes.items()
        if layer.get(key) != value or (value is None and key in layer)
    }
    if not changes:
        return
    if files.runtime is None:
        raise Inexpressible("there is no rtds.json: the bootstrap needs a runtime layer that comes by RTDS")
    kept = {key: value for key, value in layer.items() if key not in changes}
    new = kept | {key: value for key, value in changes.items() if value is not None}
    path, position = files.runtime
    resources = list(files.files[path].resources)
    resources[position] = {**resources[position], "layer": new}
    document = {**files.files[path].document, "resources": resources}
    yield Edit("rtds", str(resources[position].get("name", "")), path, document, changes)
