"""Rules of BackendTrafficPolicies: those of the definition, and those that only the controller tells of.

Source: Envoy Gateway, BackendTrafficPolicy definition; `backendtrafficpolicy.go` and `cluster.go` of 1.9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from governor.adapters.kubernetes_objects import Body, Kind
from governor.adapters.meshes import rules_gateway_api
from governor.adapters.meshes.envoy_gateway_policies import POLICY

MAX_NUMBER = 2**32 - 1
UNIT_S: Mapping[str, int] = {
    "Second": 1,
    "Minute": 60,
    "Hour": 3600,
    "Day": 86_400,
    "Week": 604_800,
    "Month": 2_592_000,
    "Year": 31_536_000,
}
LIMITS = ("maxConnections", "maxPendingRequests", "maxParallelRequests", "maxParallelRetries")


def violations(kind: Kind, body: Body) -> list[str]:
    """What is wrong with a policy or a route, in words."""
    if kind != POLICY:
        return rules_gateway_api.violations(kind, body)
    spec = body.get("spec") or {}
    return [
        *_of_targets(spec),
        *_of_breaker(spec.get("circuitBreaker") or {}),
        *_of_passive((spec.get("healthCheck") or {}).get("passive") or {}),
        *_of_local(((spec.get("rateLimit") or {}).get("local") or {}).get("rules") or ()),
        *_of_durations(spec),
    ]


def _of_targets(spec: Mapping[str, Any]) -> Iterator[str]:
    one, several = spec.get("targetRef"), spec.get("targetRefs")
    if one and several:
        yield "spec has both targetRef and targetRefs"
    targets = several or ([one] if one else [])
    if "mergeType" in spec:
        if spec["mergeType"] == "Replace":
            yield "spec.mergeType must not be Replace"
        if any(not str(target.get("kind", "")).endswith("Route") for target in targets):
            yield "spec.mergeType is for policies of routes alone"


def _of_breaker(breaker: Mapping[str, Any]) -> Iterator[str]:
    for key in LIMITS:
        if not 0 <= breaker.get(key, 0) <= MAX_NUMBER:
            yield f"spec.circuitBreaker.{key} is {breaker[key]}, not within 0..{MAX_NUMBER}"
    budget = breaker.get("retryBudget")
    if budget is not None:
        percent = budget.get("percent") or {}
        if "numerator" not in percent:
            yield "spec.circuitBreaker.retryBudget.percent has no numerator"
        elif not 0 <= percent["numerator"] <= percent.get("denominator", 100):
            yield "spec.circuitBreaker.retryBudget.percent is more than 1"


def _of_passive(passive: Mapping[str, Any]) -> Iterator[str]:
    percent = passive.get("maxEjectionPercent", 1)
    if not 0 <= percent <= 100:
        yield f"spec.healthCheck.passive.maxEjectionPercent is {percent}, not within 0..100"
    if percent == 0:
        # Taken without a word, and read as unset.
        yield "spec.healthCheck.passive.maxEjectionPercent is 0, which comes to Envoy's 10 %"


def _of_local(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    where = "spec.rateLimit.local.rules"
    plain = [rule for rule in rules if not rule.get("clientSelectors")]
    if len(plain) > 1:
        yield f"{where} has {len(plain)} rules without clientSelectors, and one is the most"
    for at, rule in enumerate(rules):
        requests = rule["limit"]["requests"]
        if not 1 <= requests <= MAX_NUMBER:
            yield f"{where}[{at}].limit.requests is {requests}: Envoy's bucket needs 1..{MAX_NUMBER}"
        if plain and UNIT_S[rule["limit"]["unit"]] % UNIT_S[plain[0]["limit"]["unit"]]:
            yield f"{where}[{at}].limit.unit is no multiple of that of the rule without clientSelectors"


def _of_durations(spec: Mapping[str, Any]) -> Iterator[str]:
    found = {
        "timeout.http.requestTimeout": ((spec.get("timeout") or {}).get("http") or {}).get("requestTimeout"),
        "retry.perRetry.timeout": ((spec.get("retry") or {}).get("perRetry") or {}).get("timeout"),
    }
    for where, text in found.items():
        if text is not None and rules_gateway_api.DURATION.fullmatch(str(text)) is None:
            yield f"spec.{where} is {text!r}: up to four whole numbers, each with h, m, s or ms"
