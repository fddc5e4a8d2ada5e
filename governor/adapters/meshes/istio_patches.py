"""EnvoyFilter patches for what Istio has no fields of its own: rate limits, and caps for priority HIGH."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RATE_LIMIT_FILTER = "envoy.filters.http.local_ratelimit"
_CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"


def high_priority_cap(service: str, requests: int, ports: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Patches for a cap of `requests` in flight to `service` for route priority HIGH.

    With `ports` of the service only its own routes called `high` get the priority, without them every service's.
    """
    # The list of thresholds is appended to, so the DestinationRule's own (DEFAULT) entry stays. The other
    # three limits are named because Envoy's 1024/1024/3 would hold for the class that is to be protected.
    threshold = {
        "priority": "HIGH",
        "max_requests": requests,
        "max_connections": max(1024, requests),
        "max_pending_requests": max(1024, requests),
        "max_retries": max(3, requests // 5),
    }
    return [
        {
            "applyTo": "CLUSTER",
            "match": {"context": "SIDECAR_OUTBOUND", "cluster": {"service": service}},
            "patch": {"operation": "MERGE", "value": {"circuit_breakers": {"thresholds": [threshold]}}},
        },
        *(_high_priority_route(host) for host in ([{"name": f"{service}:{p}"} for p in ports] or [{}])),
    ]


def _high_priority_route(virtual_host: Mapping[str, Any]) -> dict[str, Any]:
    vhost = {**virtual_host, "route": {"name": "high"}}
    return {
        "applyTo": "HTTP_ROUTE",
        "match": {"context": "SIDECAR_OUTBOUND", "routeConfiguration": {"vhost": vhost}},
        "patch": {"operation": "MERGE", "value": {"route": {"priority": "HIGH"}}},
    }


def inbound_rate_limit(bucket: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that puts a rate limit before the routes of a sidecar's inbound listeners."""
    return {
        "applyTo": "HTTP_FILTER",
        "match": {
            "context": "SIDECAR_INBOUND",
            "listener": {"filterChain": {"filter": {"name": _CONNECTION_MANAGER}}},
        },
        "patch": {"operation": "INSERT_BEFORE", "value": local_rate_limit(bucket)},
    }


def token_bucket(rate: float) -> dict[str, Any]:
    """Envoy's bucket for `rate` requests/s: whole tokens, the shortest interval with an error within 2 %."""
    for interval in (1, 10, 60, 3600):
        tokens = round(rate * interval)
        if tokens >= 1 and abs(tokens / interval - rate) <= 0.02 * rate:
            break
    tokens = max(1, tokens)
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": f"{interval}s"}


def local_rate_limit(bucket: Mapping[str, Any]) -> dict[str, Any]:
    """The HTTP filter with `bucket`."""

    def always(key: str) -> dict[str, Any]:
        return {"runtime_key": key, "default_value": {"numerator": 100, "denominator": "HUNDRED"}}

    return {
        "name": RATE_LIMIT_FILTER,
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "value": {
                "stat_prefix": "http_local_rate_limiter",
                "token_bucket": dict(bucket),
                "filter_enabled": always("local_rate_limit_enabled"),
                "filter_enforced": always("local_rate_limit_enforced"),
            },
        },
    }
