"""Rules of BackendTrafficPolicies that the definition holds, and those that only the controller tells of."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.meshes.envoy_gateway_policies import POLICY
from governor.adapters.meshes.rules_envoy_gateway import violations


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"targetRef": {"kind": "Gateway"}, "mergeType": "StrategicMerge"}, "for policies of routes alone"),
        ({"targetRef": {"kind": "HTTPRoute"}, "mergeType": "Replace"}, "must not be Replace"),
        (
            {"targetRef": {"kind": "Gateway"}, "targetRefs": [{"kind": "Gateway"}]},
            "both targetRef and targetRefs",
        ),
        ({"circuitBreaker": {"maxConnections": 2**32}}, "maxConnections is 4294967296"),
        ({"circuitBreaker": {"retryBudget": {"minRetryConcurrency": 1}}}, "has no numerator"),
        ({"circuitBreaker": {"retryBudget": {"percent": {"numerator": 101}}}}, "is more than 1"),
        ({"healthCheck": {"passive": {"maxEjectionPercent": 101}}}, "is 101"),
        ({"healthCheck": {"passive": {"maxEjectionPercent": 0}}}, "comes to Envoy's 10 %"),
        ({"timeout": {"http": {"requestTimeout": "1.5s"}}}, "requestTimeout is '1.5s'"),
    ],
)
def test_the_controllers_rules(spec: dict[str, Any], problem: str) -> None:
    (found,) = violations(POLICY, {"spec": spec})
    assert problem in found


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([("Second", 5, False), ("Second", 6, False)], "2 rules without clientSelectors"),
        ([("Minute", 5, False), ("Second", 6, True)], "is no multiple of"),
        ([("Second", 0, False)], "limit.requests is 0"),
    ],
)
def test_the_rules_of_local_limits(rules: list[tuple[str, int, bool]], problem: str) -> None:
    local = [
        {"limit": {"requests": count, "unit": unit}} | ({"clientSelectors": [{}]} if chosen else {})
        for unit, count, chosen in rules
    ]
    (found,) = violations(POLICY, {"spec": {"rateLimit": {"local": {"rules": local}}}})
    assert problem in found
