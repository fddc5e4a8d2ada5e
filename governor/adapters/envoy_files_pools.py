"""Weights of an edge's endpoints and rate limits of an API. Pure."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

from governor.adapters.envoy_admin_names import LIMIT_PREFIX
from governor.adapters.envoy_files_change import SAME, Edit, duration
from governor.adapters.envoy_files_store import Document
from governor.adapters.envoy_files_values import (
    UNLIMITED_RPS,
    Catalogue,
    address_of,
    bucket_place,
    endpoints,
    rate_of,
)
from governor.adapters.inexpressible import Inexpressible
from governor.adapters.manifests import endpoint_weights
from governor.knobs import BackendWeights, RateLimit

FILL_S = 0.05
"""Shortest fill interval that Envoy takes."""


def weight_edits(files: Catalogue, edge: str, value: BackendWeights) -> Iterator[Edit]:
    """Integer weights that sum to about 10,000; Inexpressible if the endpoints are not those named."""
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
    if any(e.get("priority", 0) or "load_balancing_weight" in e for e in assignment["endpoints"]):
        raise Inexpressible(
            f"{edge} has locality weights or priorities: an endpoint's weight is not its share there"
        )
    if files.clusters.get(edge, {}).get("lb_policy") == "RANDOM":
        raise Inexpressible(f"the load balancer of {edge} is RANDOM, which knows no weights")
    if not all(share >= 0 and math.isfinite(share) for share in wanted.values()) or sum(wanted.values()) <= 0:
        raise Inexpressible(f"shares {wanted} are no shares")
    if all(abs(now[name] - wanted[name]) < SAME for name in wanted):
        return
    document = copy.deepcopy(files.files[place.path].document)
    listed = list(endpoints(document["resources"][place.position]))
    weights = endpoint_weights([wanted[address_of(endpoint)] for endpoint in listed])
    for endpoint, weight in zip(listed, weights, strict=True):
        endpoint["load_balancing_weight"] = weight
    yield Edit("eds", edge, place.path, document)


def limit_edits(files: Catalogue, api: str, value: RateLimit) -> Iterator[Edit]:
    """The class's token bucket, or the filter switched off; an unchanged rate refills no bucket."""
    name = LIMIT_PREFIX + api
    place = files.limits.get(name)
    if place is None:
        raise Inexpressible(
            f"ecds/ has no rate limit {name}: the listener needs an HTTP filter of that name with "
            "config_discovery, see docs/envoy.md"
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
