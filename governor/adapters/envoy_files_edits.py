"""One knob's value as an edit of the discovery files; all else in them stays as the operator has it. Pure."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from governor.adapters.envoy_files_store import Document
from governor.adapters.envoy_files_values import (
    BREAKERS,
    LIMIT,
    PRIORITIES,
    UNLIMITED_RPS,
    Catalogue,
    Place,
    bucket_place,
    endpoints,
    rate_of,
    address_of,
    retries_of,
)
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)

TOTAL_WEIGHT = 10_000
"""An edge's weights sum to about this, so that a share of 0.01 % can be said."""
FILL_S = 0.05
"""Shortest fill interval that Envoy takes."""
SAME = 1e-4
"""Two rates or shares closer than this (relative, absolute) are the same: nothing is written."""


class Inexpressible(Exception):  # noqa: N818 - reads as what it is
    """This value cannot be said in these files; the message says why."""


@dataclass(frozen=True)
class Edit:
    """One file's new content, and where Envoy tells that it took it."""

    kind: str
    name: str
    """Resource whose subscription confirms it."""
    path: Path
    document: Document
    runtime: Mapping[str, float | None] = field(default_factory=dict)
    """Runtime keys that must read so afterwards; None: gone from the layer."""


def value_of(files: Catalogue, target: Target, knob: Knob) -> KnobValue:
    """What the files say now."""
    name = target.name
    match knob:
        case Knob.RATE_LIMIT:
            return RateLimit(_number(files.limit(name)))
        case Knob.IN_FLIGHT_CAP:
            default, high = (files.breaker(name, p, "max_requests") for p in PRIORITIES)
            return InFlightCap(_whole(default), _whole(high))
        case Knob.WEIGHTS:
            return BackendWeights(tuple(files.shares(name).items()))
        case Knob.RETRIES:
            return RetryPolicy(_whole(files.attempts(name)), _number(files.retry_budget(name)))
        case Knob.TIMEOUT:
            whole, one = files.timeouts(name)
            return Timeout(_number(whole), _number(one))
        case Knob.OUTLIER_DETECTION:
            share, row = files.outlier(name)
            return OutlierDetection(_number(share), _whole(row))
        case Knob.CONNECTION_LIMITS:
            keys = ("max_connections", "max_pending_requests")
            connections, pending = (files.breaker(name, "default", key) for key in keys)
            return ConnectionLimits(_whole(connections), _whole(pending))


def edits_for(files: Catalogue, target: Target, value: KnobValue) -> list[Edit]:
    """Edits that set `value`, none where it is set already; Inexpressible if these files cannot say it."""
    _require_target(files, target, value)
    edge = target.name
    match value:
        case RateLimit():
            return list(_limit(files, edge, value))
        case InFlightCap():
            caps = {(p, "max_requests"): v for p, v in zip(PRIORITIES, (value.default, value.high), strict=True)}
            return list(_breakers(files, edge, caps))
        case BackendWeights():
            return list(_weights(files, edge, value))
        case RetryPolicy():
            return [*_attempts(files, edge, value.attempts), *_budget(files, edge, value.budget)]
        case Timeout():
            return list(_timeout(files, edge, value))
        case ConnectionLimits():
            pairs = {"max_connections": value.max_connections, "max_pending_requests": value.max_pending_requests}
            return list(_breakers(files, edge, {(p, k): v for p in PRIORITIES for k, v in pairs.items()}))
        case OutlierDetection():
            raise Inexpressible(
                "outlier detection stands in cds.json: a CDS update rebuilds the cluster, drops its connections and "
                "forgets its ejections, so the governor does not write it; set it by hand"
            )


def _require_target(files: Catalogue, target: Target, value: KnobValue) -> None:
    wanted = TargetKind.API if isinstance(value, RateLimit) else TargetKind.EDGE
    if target.kind is not wanted:
        raise Inexpressible(f"{type(value).__name__} sits on an {wanted.value}, {target} is none")
    if wanted is TargetKind.EDGE and not files.has_edge(target.name):
        raise Inexpressible(f"no file knows a cluster named {target.name}: is this the Envoy that calls it?")


# RTDS: circuit breakers and retry budgets.


def _breakers(files: Catalogue, edge: str, values: Mapping[tuple[str, str], int | None]) -> Iterator[Edit]:
    changes: dict[str, float | None] = {}
    for (priority, key), value in values.items():
        if value is not None and value < 0:
            raise Inexpressible(f"{key} of {value} is below zero")
        now, own = files.breaker(edge, priority, key), files.static_breaker(edge, priority, key)
        if _whole(now) != value:
            # The operator's own value needs no key: the layer holds only what differs from it.
            changes[f"{BREAKERS}.{edge}.{priority}.{key}"] = None if value in (None, _whole(own)) else value
    yield from _runtime(files, changes)


def _budget(files: Catalogue, edge: str, budget: float | None) -> Iterator[Edit]:
    """A budget of 0 needs the floor at 0 too: Envoy lets `min_retry_concurrency` retries pass any budget."""
    if budget is not None and not 0.0 <= budget <= 1.0:
        raise Inexpressible(f"a retry budget of {budget} is not within 0..1")
    now = files.retry_budget(edge)
    if (math.isnan(now) and budget is None) or (budget is not None and abs(now - budget) < SAME):
        return
    changes: dict[str, float | None] = {}
    for priority in PRIORITIES:
        key = f"{BREAKERS}.{edge}.{priority}.retry_budget"
        floor = 0 if budget == 0 else files.min_retry_concurrency(edge, priority)
        changes[f"{key}.budget_percent"] = None if budget is None else round(100.0 * budget, 4)
        changes[f"{key}.min_retry_concurrency"] = None if budget is None else floor
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


# RDS: retries and timeouts.


def _attempts(files: Catalogue, edge: str, attempts: int | None) -> Iterator[Edit]:
    if attempts is None or _whole(files.attempts(edge)) == attempts:
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


def _timeout(files: Catalogue, edge: str, value: Timeout) -> Iterator[Edit]:
    now = Timeout(*(_number(v) for v in files.timeouts(edge)))
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


def _routes(files: Catalogue, edge: str, change: Any) -> Iterator[Edit]:
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


# EDS: weights.


def _weights(files: Catalogue, edge: str, value: BackendWeights) -> Iterator[Edit]:
    place = files.assignments.get(edge)
    if place is None:
        raise Inexpressible(
            f"eds/ has no endpoints of {edge}: weights need a cluster of type EDS with its file there"
        )
    now, wanted = files.shares(edge), dict(value.shares)
    for names, what in ((wanted.keys() - now.keys(), "lists no"), (now.keys() - wanted.keys(), "also lists")):
        if names:
            raise Inexpressible(
                f"{place.path.name} {what} {', '.join(sorted(names))}: the endpoints have changed"
            )
    assignment = files.resource(place)
    if len({(e.get("locality") is None, e.get("priority", 0)) for e in assignment["endpoints"]}) > 1 or any(
        "load_balancing_weight" in e for e in assignment["endpoints"]
    ):
        raise Inexpressible(
            f"{edge} has locality weights or priorities: an endpoint's weight is not its share there"
        )
    if not all(share >= 0 and math.isfinite(share) for share in wanted.values()) or sum(wanted.values()) <= 0:
        raise Inexpressible(f"shares {wanted} are no shares")
    if all(abs(now[name] - wanted[name]) < SAME for name in wanted):
        return
    document = copy.deepcopy(files.files[place.path].document)
    total = sum(wanted.values())
    for endpoint in endpoints(document["resources"][place.position]):
        share = wanted[address_of(endpoint)] / total
        endpoint["load_balancing_weight"] = max(1, round(share * TOTAL_WEIGHT))
    yield Edit("eds", edge, place.path, document)


# ECDS: rate limits.


def _limit(files: Catalogue, api: str, value: RateLimit) -> Iterator[Edit]:
    name = LIMIT + api
    place = files.limits.get(name)
    if place is None:
        raise Inexpressible(
            f"ecds/ has no rate limit {name}: the listener needs an HTTP filter of that name with config_discovery, "
            "see docs/envoy.md"
        )
    rate, now = value.requests_per_second, files.limit(api)
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise Inexpressible(f"a limit of {rate} requests/s cannot be said with a token bucket")
    if (rate is None and math.isnan(now)) or (rate is not None and abs(rate - now) <= SAME * rate):
        return
    document = copy.deepcopy(files.files[place.path].document)
    config = document["resources"][place.position]["typed_config"]
    enabled = {"numerator": 0 if rate is None else 100}
    config["filter_enabled"] = {**config.get("filter_enabled", {}), "default_value": enabled}
    if rate is not None:
        _bucket_holder(config, api)["token_bucket"] = bucket(rate)
        config.setdefault("filter_enforced", {"default_value": {"numerator": 100}})
    yield Edit("ecds", name, place.path, document)


def _bucket_holder(config: Document, api: str) -> Document:
    """The class's descriptor; a filter whose own bucket is no limit gets one."""
    holder = bucket_place(config, api)
    if holder is config and rate_of(config.get("token_bucket", {})) >= UNLIMITED_RPS:
        holder = {"entries": [{"key": "api", "value": api}]}
        config["descriptors"] = [*config.get("descriptors", ()), holder]
    return holder


def bucket(rate_rps: float) -> Document:
    """Token bucket passing `rate_rps` with the least burst Envoy allows: one fill, every 50 to 100 ms.

    Below 20 requests/s a fill is one token and the interval carries the rate.
    """
    tokens = max(1, math.ceil(rate_rps * FILL_S - 1e-9))
    interval = duration(max(tokens / rate_rps, FILL_S))
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": interval}


def duration(seconds: float) -> str:
    """Seconds as JSON writes a duration, to the nanosecond."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def place_of(files: Catalogue, kind: str, name: str) -> Place | None:
    """Where the resource that `kind` and `name` mean stands, None if there is none."""
    if kind == "rtds":
        return files.runtime
    return {"eds": files.assignments, "ecds": files.limits}.get(kind, {}).get(name)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) and value < 1e5 else None
