"""Rules of the Gateway API that its definitions hold as CEL, and those that no definition holds.

Source: Gateway API, HTTPRoute and XBackendTrafficPolicy definitions; GEP-2257 (durations).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from governor.adapters.kubernetes_objects import Body, Kind
from governor.adapters.meshes.durations import seconds
from governor.adapters.meshes.gateway_objects import GROUP

DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
MAX_WEIGHT = 1_000_000
HOUR_S = 3600.0


def violations(kind: Kind, body: Body) -> list[str]:
    """What is wrong with a route or an XBackendTrafficPolicy, in words."""
    spec = body.get("spec") or {}
    if kind.group == GROUP:
        rules = enumerate(spec.get("rules") or ())
        return [problem for at, rule in rules for problem in _of_rule(f"spec.rules[{at}]", rule)]
    if kind.kind == "XBackendTrafficPolicy":
        return list(_of_constraint(spec.get("retryConstraint") or {}))
    return []


def _of_rule(where: str, rule: Mapping[str, Any]) -> Iterator[str]:
    weights = [backend.get("weight", 1) for backend in rule.get("backendRefs") or ()]
    for at, weight in enumerate(weights):
        if not isinstance(weight, int) or not 0 <= weight <= MAX_WEIGHT:
            yield f"{where}.backendRefs[{at}].weight is {weight}, no whole number of 0..{MAX_WEIGHT}"
    if weights and not any(weights):
        # No definition says so: implementations answer 500 to every request then.
        yield f"the weights of {where}.backendRefs are all zero"
    timeouts = rule.get("timeouts") or {}
    for key, text in timeouts.items():
        yield from _of_duration(f"{where}.timeouts.{key}", text)
    request, per_try = seconds(timeouts.get("request")), seconds(timeouts.get("backendRequest"))
    if request is not None and per_try is not None and per_try > request:
        yield f"{where}.timeouts.backendRequest is longer than its request"
    attempts = (rule.get("retry") or {}).get("attempts", 1)
    if attempts < 1:
        yield f"{where}.retry.attempts is {attempts}, less than 1"


def _of_constraint(constraint: Mapping[str, Any]) -> Iterator[str]:
    where = "spec.retryConstraint"
    budget, rate = constraint.get("budget") or {}, constraint.get("minRetryRate") or {}
    if not 0 <= budget.get("percent", 0) <= 100:
        yield f"{where}.budget.percent is {budget['percent']}, not within 0..100"
    if not 1 <= rate.get("count", 1) <= 1_000_000:
        yield f"{where}.minRetryRate.count is {rate['count']}, not within 1..1000000"
    for name, block, least in (("budget", budget, 1.0), ("minRetryRate", rate, 0.001)):
        if "interval" in block:
            yield from _of_duration(f"{where}.{name}.interval", block["interval"])
            if not least <= (seconds(block["interval"]) or 0.0) <= HOUR_S:
                yield f"{where}.{name}.interval is {block['interval']}, not within {least:g}s..1h"


def _of_duration(where: str, text: Any) -> Iterator[str]:
    if not isinstance(text, str) or DURATION.fullmatch(text) is None:
        yield f"{where} is {text!r}: up to four whole numbers of at most five digits, each with h, m, s or ms"
