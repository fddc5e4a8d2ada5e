"""Leaves of a BackendTrafficPolicy: caps, connection limits, outlier detection, retries, budget, timeouts.

The definition fills in what a block leaves out. Those leaves are named here as well: they would stay behind when
ours go, and a block that only we brought would stay in force. What is filled in would also hide a policy above
with which ours is merged: there its values are named instead. Limits count in each proxy of the Gateway, for each
rule, and for each backend where backends have filters. Source: Envoy Gateway, BackendTrafficPolicy reference;
read in the code of 1.9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, Edit, FieldPath, value_at
from governor.adapters.meshes.bursts import part, whole
from governor.adapters.meshes.durations import gateway_duration, seconds
from governor.adapters.meshes.envoy_gateway_policies import Site
from governor.adapters.meshes.shares import whole_percent
from governor.knobs import ConnectionLimits, OutlierDetection, RetryPolicy, Timeout


@dataclass(frozen=True)
class Block:
    """A mapping in a policy, and what the definition fills in where it is there."""

    path: FieldPath
    filled_in: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    """It is one knob's alone: without a value all of it goes."""


BREAKER = Block(
    ("circuitBreaker",),
    dict.fromkeys(("maxConnections", "maxPendingRequests", "maxParallelRequests", "maxParallelRetries"), 1024),
)
PASSIVE = Block(
    ("healthCheck", "passive"),
    {
        "consecutive5XxErrors": 5,
        "maxEjectionPercent": 10,
        "interval": "3s",
        "baseEjectionTime": "30s",
        "consecutiveLocalOriginFailures": 5,
        "splitExternalLocalOriginErrors": False,
        "alwaysEjectOneEndpoint": False,
    },
    whole=True,
)
RETRY = Block(("retry",), {"numRetries": 2})
HTTP_TIMEOUT = Block(("timeout", "http"))
UNLIMITED = 4_294_967_295
"""The largest limit that there can be, and the only way to have none: what is left out is 1024."""
ENVOYS_MAX_EJECTION = 0.1
"""What a maxEjectionPercent of 0 comes to."""

Leaves = Mapping[str, Any]
"""Values (None: take away) by path within a block, with dots."""


def edits_in(site: Site, block: Block, leaves: Leaves) -> list[Edit]:
    """Edits that set `leaves` of a block (None: take away), and name what the definition would fill in."""
    now = site.policy[1] if site.policy else {}
    at: FieldPath = ("spec", *block.path)
    there = value_at(now, at) is not ABSENT
    nothing = all(value is None for value in leaves.values())
    if nothing and not there:
        return []
    others = [key for key in block.filled_in if key not in leaves]
    edits = [Edit((*at, *leaf.split(".")), ABSENT if value is None else value) for leaf, value in leaves.items()]
    for key in others:
        current = value_at(now, (*at, key))
        if nothing and block.whole:
            edits.append(Edit((*at, key), ABSENT))
        elif not nothing or current is not ABSENT:
            edits.append(Edit((*at, key), _said(site, block, key, block.filled_in[key])))
    return edits


def _said(site: Site, block: Block, key: str, otherwise: Any = ABSENT) -> Any:
    """A leaf of a block, as filled in where the block is there without it; `otherwise` without the block."""
    found = site.said((*block.path, key))
    if found is not ABSENT:
        return found
    return otherwise if site.said(block.path) is ABSENT else block.filled_in[key]


def cap_edits(site: Site, cap: int | None, proxies: int) -> list[Edit]:
    """The cap of the requests that this site's rule takes."""
    return edits_in(site, BREAKER, {"maxParallelRequests": _each(site, cap, proxies)})


def cap_in(site: Site, proxies: int) -> int | None:
    """The inverse of `cap_edits`."""
    return _total(site, "maxParallelRequests", proxies)


def roomy_cap_edits(site: Site, cap: int | None, proxies: int) -> list[Edit]:
    """As `cap_edits`, for a cap that is not meant to be filled but to leave room for bursts.

    Where clusters share it, each has the room of its own bursts (`bursts`).
    """
    if cap is None or site.clusters == 1:
        return cap_edits(site, cap, proxies)
    _each(site, cap, proxies)
    return edits_in(site, BREAKER, {"maxParallelRequests": part(cap / proxies, site.clusters)})


def roomy_cap_in(site: Site, proxies: int) -> int | None:
    """The inverse of `roomy_cap_edits`."""
    each = _said(site, BREAKER, "maxParallelRequests")
    if each is ABSENT or int(each) >= UNLIMITED or site.clusters == 1:
        return cap_in(site, proxies)
    return round(proxies * whole(int(each), site.clusters))


def limit_edits(site: Site, value: ConnectionLimits, proxies: int) -> list[Edit]:
    """Connections, and requests that wait for one."""
    leaves = {
        "maxConnections": _each(site, value.max_connections, proxies),
        "maxPendingRequests": _each(site, value.max_pending_requests, proxies),
    }
    return edits_in(site, BREAKER, leaves)


def limits_in(site: Site, proxies: int) -> ConnectionLimits | None:
    """The inverse of `limit_edits`."""
    found = [_total(site, key, proxies) for key in ("maxConnections", "maxPendingRequests")]
    return None if found == [None, None] else ConnectionLimits(*found)


def _total(site: Site, key: str, proxies: int) -> int | None:
    """The limit over all proxies and clusters; None if there is none."""
    each = _said(site, BREAKER, key)
    return None if each is ABSENT or int(each) >= UNLIMITED else int(each) * proxies * site.clusters


def _each(site: Site, total: int | None, proxies: int) -> int | None:
    """The part of each proxy and cluster, rounded up."""
    if total is None:
        return None
    if total < 1:
        raise Inexpressible("Envoy Gateway takes a limit of 0 at its word: no request would pass")
    if len(site.route.rules) > 1:
        raise Inexpressible(
            f"{len(site.route.rules)} rules of {site.route.ref} lead to this service, and Envoy Gateway counts "
            "for each by itself: make them one rule"
        )
    return math.ceil(total / (proxies * site.clusters))


def outlier_edits(site: Site, value: OutlierDetection) -> list[Edit]:
    """Largest share, in whole percent, rounded down; and failures in a row."""
    percent = None if value.max_ejection is None else whole_percent(value.max_ejection)
    if percent == 0:
        raise Inexpressible("Envoy Gateway reads a maxEjectionPercent of 0 as Envoy's 10 %: 1 % is the least")
    if value.consecutive_5xx is not None and value.consecutive_5xx < 1:
        raise Inexpressible("Envoy Gateway cannot switch off consecutive5XxErrors: 1 is the least")
    leaves = {"consecutive5XxErrors": value.consecutive_5xx, "maxEjectionPercent": percent}
    return edits_in(site, PASSIVE, leaves)


def outlier_in(site: Site) -> OutlierDetection | None:
    """The inverse of `outlier_edits`; None if there is no passive health check."""
    percent, errors = (_said(site, PASSIVE, key) for key in ("maxEjectionPercent", "consecutive5XxErrors"))
    if percent is ABSENT:
        return None
    return OutlierDetection(percent / 100 or ENVOYS_MAX_EJECTION, int(errors))


def retry_edits(site: Site, value: RetryPolicy) -> list[Edit]:
    """Retries after the first attempt, and the budget; which answers are tried again stays as it is."""
    return [*edits_in(site, RETRY, {"numRetries": value.attempts}), *budget_edits(site, value)]


def attempts_in(site: Site) -> int | None:
    """Retries after the first attempt."""
    found = _said(site, RETRY, "numRetries")
    return None if found is ABSENT else int(found)


def budget_edits(site: Site, value: RetryPolicy) -> list[Edit]:
    """The budget as a share of active requests, in whole percent, rounded down."""
    share = None if value.budget is None else whole_percent(value.budget)
    at = "retryBudget.percent"
    leaves = {f"{at}.numerator": share, f"{at}.denominator": None if share is None else 100}
    return [] if share is None and budget_in(site) is None else edits_in(site, BREAKER, leaves)


def budget_in(site: Site) -> float | None:
    """The inverse of `budget_edits`."""
    percent = site.said((*BREAKER.path, "retryBudget", "percent"))
    return None if percent is ABSENT else float(percent["numerator"]) / float(percent.get("denominator", 100))


def timeout_edits(site: Site, value: Timeout) -> list[Edit]:
    """Timeout of the request and of each try."""
    request, per_try = value.request_s, value.per_try_s
    if request is not None and per_try is not None and per_try > request:
        raise Inexpressible(f"a try of {per_try:g} s cannot outlast its request of {request:g} s")
    leaf = ("perRetry", "timeout")
    now = site.policy[1] if site.policy else {}
    retried = value_at(now, ("spec", *RETRY.path)) is not ABSENT
    if per_try is not None and not retried:
        raise Inexpressible(
            f"no policy of {site.route.ref} retries, and a timeout of each try would make it retry twice: say "
            "how often it is to try"
        )
    edits = edits_in(
        site, HTTP_TIMEOUT, {"requestTimeout": None if request is None else gateway_duration(request)}
    )
    if per_try is not None or value_at(now, ("spec", *RETRY.path, *leaf)) is not ABSENT:
        text = None if per_try is None else gateway_duration(per_try)
        edits.append(Edit(("spec", *RETRY.path, *leaf), ABSENT if text is None else text))
    return edits


def timeout_in(site: Site) -> Timeout:
    """The inverse of `timeout_edits`; None for what is not set."""
    request = site.said((*HTTP_TIMEOUT.path, "requestTimeout"))
    per_try = site.said((*RETRY.path, "perRetry", "timeout"))
    return Timeout(seconds(request), seconds(per_try))
