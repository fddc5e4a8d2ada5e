"""HTTP filters of a lab's listeners: rate limits by ECDS, shedding by runtime, adaptive concurrency."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from governor.lab.documents import Scenario
from governor.lab.layout import file_stem
from governor.lab.xds_files import path_source

FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
LOCAL_RATE_LIMIT = f"{FILTERS}.local_ratelimit.v3.LocalRateLimit"
UNLIMITED = {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s"}
FILL_S = 0.05
"""Shortest fill interval Envoy takes."""
BURST_S = 0.2
"""Largest bucket, as seconds of its rate."""


def bucket(rate_rps: float) -> dict[str, Any]:
    """Token bucket passing `rate_rps`: fill interval 50 ms to 100 ms, at most 200 ms of burst.

    Below 20 requests/s a fill is one token and the interval carries the rate.
    """
    tokens = max(1, math.ceil(rate_rps * FILL_S - 1e-9))
    return {
        "max_tokens": max(tokens, int(rate_rps * BURST_S)),
        "tokens_per_fill": tokens,
        "fill_interval": f"{tokens / rate_rps:.6f}s",
    }


def limit_name(class_name: str) -> str:
    """Name of the filter, the ECDS resource and the statistics of a class's rate limit."""
    return f"limit.{class_name}"


def rate_limit_extension(class_name: str, rate_rps: float | None) -> dict[str, Any]:
    """ECDS resource limiting one API class to `rate_rps`; None lets everything through.

    The default bucket is practically unlimited; the real one belongs to the descriptor
    {api: class}, which the class's route attaches.
    """
    enabled = {"default_value": {"numerator": 0 if rate_rps is None else 100}}
    limits: dict[str, Any] = {
        "@type": LOCAL_RATE_LIMIT,
        "stat_prefix": limit_name(class_name),
        "token_bucket": UNLIMITED,
        "filter_enabled": enabled,
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    if rate_rps is not None:
        entry = {"key": "api", "value": class_name}
        limits["descriptors"] = [{"entries": [entry], "token_bucket": bucket(rate_rps)}]
    return _extension(limit_name(class_name), limits)


def blind_rate_limit_extension(rate_rps: float) -> dict[str, Any]:
    """ECDS resource limiting everything that comes in through a listener, whatever its class."""
    limits = {
        "@type": LOCAL_RATE_LIMIT,
        "stat_prefix": "limit.all",
        "token_bucket": bucket(rate_rps),
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }
    return _extension("limit.all", limits)


def http_filters(scenario: Scenario, classes: list[str], directory: Path) -> list[dict[str, Any]]:
    """Filter chain of a listener where the API classes `classes` come in (none: internal edge)."""
    filters: list[dict[str, Any]] = []
    if classes:
        filters.append({"name": "shed", "typed_config": {"@type": f"{FILTERS}.fault.v3.HTTPFault"}})
        if isinstance(scenario.data_plane.static_rate_limit_rps, float):
            filters.append(_by_ecds("limit.all", directory))
    filters += [_by_ecds(limit_name(name), directory) for name in classes]
    if scenario.data_plane.adaptive_concurrency == "default":
        filters.append(_adaptive_concurrency())
    router = {"@type": f"{FILTERS}.router.v3.Router"}
    filters.append({"name": "envoy.filters.http.router", "typed_config": router})
    return filters


def shed_config(class_name: str) -> dict[str, Any]:
    """Per-route configuration answering 429 to the share in the runtime key `shed.<class>`."""
    return {
        "@type": f"{FILTERS}.fault.v3.HTTPFault",
        "abort": {"http_status": 429, "percentage": {"numerator": 0}},
        "abort_percent_runtime": f"shed.{class_name}",
    }


def _adaptive_concurrency() -> dict[str, Any]:
    """Envoy's adaptive concurrency with its defaults; only the required fields are given."""
    controller = {
        "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
        "min_rtt_calc_params": {"interval": "60s"},
        "sample_aggregate_percentile": {"value": 50},
    }
    typed = {
        "@type": f"{FILTERS}.adaptive_concurrency.v3.AdaptiveConcurrency",
        "gradient_controller_config": controller,
        "enabled": {"default_value": True, "runtime_key": "adaptive_concurrency.enabled"},
    }
    return {"name": "adaptive_concurrency", "typed_config": typed}


def _by_ecds(name: str, directory: Path) -> dict[str, Any]:
    source = path_source(directory / "ecds" / f"{file_stem(name)}.json")
    return {
        "name": name,
        "config_discovery": {"config_source": source, "type_urls": [LOCAL_RATE_LIMIT]},
    }


def _extension(name: str, typed_config: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name,
        "typed_config": typed_config,
    }
