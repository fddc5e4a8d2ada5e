"""What Istio's admission webhook refuses and no schema says, for the fields that the governor writes.

Pure, so that results can be held to it without a cluster. Source: Istio 1.31, `pkg/config/validation`; durations
by `agent.ValidateDuration` (whole milliseconds, at least one).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from governor.adapters.kubernetes_objects import Body, Kind
from governor.adapters.meshes.durations import seconds
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, VIRTUAL_SERVICE

RETRY_ON = frozenset(
    {
        "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx",
        "refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited",
        "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
        "unavailable",
    }
)  # fmt: skip
CODES = frozenset(str(int(status)) for status in HTTPStatus)


def violations(kind: Kind, body: Body) -> list[str]:
    """What the webhook would say of this object's weights, retries, timeouts and traffic policies."""
    spec = body.get("spec") or {}
    if kind == VIRTUAL_SERVICE:
        return [fault for n, entry in enumerate(spec.get("http") or ()) for fault in _entry(f"http[{n}]", entry)]
    if kind == DESTINATION_RULE:
        found = list(_policy("trafficPolicy", spec.get("trafficPolicy")))
        names = [subset.get("name") for subset in spec.get("subsets") or ()]
        if len(set(names)) < len(names):
            found.append("subsets: duplicate subset names")
        for subset in spec.get("subsets") or ():
            found += _policy(f"subset {subset.get('name')}", subset.get("trafficPolicy"))
        return found
    return []


def _entry(at: str, entry: Mapping[str, Any]) -> Iterator[str]:
    weights = [route.get("weight", 0) for route in entry.get("route") or ()]
    if any(weight < 0 for weight in weights):
        yield f"{at}.route: a weight is negative"
    if len(weights) > 1 and sum(weights) == 0:
        yield f"{at}.route: total destination weight = 0"
    yield from _duration(f"{at}.timeout", entry.get("timeout"))
    retries = entry.get("retries")
    if retries is None:
        return
    attempts = retries.get("attempts", 0)
    if attempts < 0:
        yield f"{at}.retries: attempts cannot be negative"
    refused = [
        key for key in ("perTryTimeout", "retryOn", "retryRemoteLocalities") if retries.get(key) is not None
    ]
    if attempts == 0 and refused:
        yield f"{at}.retries: {', '.join(refused)} beside attempts: 0"
    for key in ("perTryTimeout", "backoff"):
        yield from _duration(f"{at}.retries.{key}", retries.get(key))
    for word in (retries.get("retryOn") or "").split(","):
        if word and word not in RETRY_ON | CODES:
            yield f"{at}.retries.retryOn: {word!r} is not a valid retryOn policy"


def _policy(at: str, policy: Mapping[str, Any] | None) -> Iterator[str]:
    if policy is None:
        return
    if not policy:
        yield f"{at}: traffic policy must have at least one field"
    yield from _pool(f"{at}.connectionPool", policy.get("connectionPool"))
    outlier = policy.get("outlierDetection") or {}
    for key in ("maxEjectionPercent", "minHealthPercent"):
        yield from _percent(f"{at}.outlierDetection.{key}", outlier.get(key))
    for key in ("interval", "baseEjectionTime"):
        yield from _duration(f"{at}.outlierDetection.{key}", outlier.get(key))
    if outlier.get("consecutiveLocalOriginFailures") and not outlier.get("splitExternalLocalOriginErrors"):
        yield f"{at}.outlierDetection: consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors"
    yield from _percent(f"{at}.retryBudget.percent", (policy.get("retryBudget") or {}).get("percent"))


def _pool(at: str, pool: Mapping[str, Any] | None) -> Iterator[str]:
    if pool is None:
        return
    if pool.get("http") is None and pool.get("tcp") is None:
        yield f"{at}: must have at least one field"
    for block in ("http", "tcp"):
        for key, number in (pool.get(block) or {}).items():
            if isinstance(number, int) and number < 0:
                yield f"{at}.{block}.{key}: must be non-negative"


def _percent(at: str, number: float | None) -> Iterator[str]:
    if number is not None and not 0 <= number <= 100:
        yield f"{at}: percentage {number:g} is not in range 0..100"


def _duration(at: str, text: str | None) -> Iterator[str]:
    if text is None:
        return
    value = (seconds(text) or 0.0) * 1000
    if value < 1 or abs(value - round(value)) > 1e-6:
        yield f"{at}: {text!r} is not at least one whole millisecond"
