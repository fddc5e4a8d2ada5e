import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from governor.adapters.manifests import Rendered, largest_remainder, to_yaml
from governor.adapters.manifests_istio import render
from governor.adapters.meshes.istio_patches import token_bucket
from governor.domain import ApiSignals, BackendSignals, EdgeSignals, MeshFrame, MeshIndex, ServiceSignals
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    Proposal,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.reasons import Reason

HOST = "reviews.shop.svc.cluster.local"
SCHEMA = Path(__file__).parent / "istio_schema.json"


def frame(apis: int = 1, replicas: float = 4.0) -> MeshFrame:
    index = MeshIndex(
        services=("web", HOST, "legacy"),
        edges=("web>reviews", "web>legacy", "other>reviews"),
        edge_caller=np.array([0, 0, 0], np.int32),
        edge_callee=np.array([1, 2, 1], np.int32),
        apis=tuple(f"api{i}" for i in range(apis)),
        api_edge=np.zeros(apis, np.int32),
    )
    service = ServiceSignals.unknown(3, replicas=np.array([1, replicas, 1], np.float32))
    return MeshFrame(
        0.0, 15.0, index, service, EdgeSignals.unknown(3), BackendSignals.unknown(0), ApiSignals.unknown(apis)
    )


def proposal(knob: Knob, value: KnobValue, target: str = "web>reviews") -> Proposal:
    kind = TargetKind.API if knob is Knob.RATE_LIMIT else TargetKind.EDGE
    return Proposal(
        Target(kind, target),
        knob,
        value,
        value,
        value,
        Direction.TIGHTEN,
        Reason.OVERLOAD,
        "",
        {},
        Hypothesis("success_rate", 0.99, 30.0),
        1.0,
        10.0,
    )


ALL = [
    proposal(Knob.RETRIES, RetryPolicy(1, 0.15)),
    proposal(Knob.TIMEOUT, Timeout(2.5, 0.8)),
    proposal(Knob.WEIGHTS, BackendWeights((("v1", 1 / 3), ("v2", 1 / 3), ("v3", 1 / 3)))),
    proposal(Knob.OUTLIER_DETECTION, OutlierDetection(0.3, 7)),
    proposal(Knob.CONNECTION_LIMITS, ConnectionLimits(200, 50)),
    proposal(Knob.IN_FLIGHT_CAP, InFlightCap(40, 60)),
    proposal(Knob.RATE_LIMIT, RateLimit(100.0), "api0"),
]


def spec(rendered: Rendered, kind: str) -> dict[str, Any]:
    (found,) = (m.body["spec"] for m in rendered.manifests if m.body["kind"] == kind)
    return dict(found)


def test_every_knob_finds_its_field() -> None:
    rendered = render(ALL, frame())
    assert rendered.left_out == ()
    http = spec(rendered, "VirtualService")["http"][0]
    assert http["timeout"] == "2500ms"
    assert http["retries"] == {"attempts": 1, "perTryTimeout": "800ms"}
    assert [r["weight"] for r in http["route"]] == [34, 33, 33]
    policy = spec(rendered, "DestinationRule")["trafficPolicy"]
    assert policy["retryBudget"] == {"percent": 15.0, "minRetryConcurrency": 3}
    assert policy["outlierDetection"] == {"consecutive5xxErrors": 7, "maxEjectionPercent": 30}
    assert policy["connectionPool"] == {
        "tcp": {"maxConnections": 200},
        "http": {"http1MaxPendingRequests": 50, "http2MaxRequests": 40},
    }
    patches = spec(rendered, "EnvoyFilter")["configPatches"]
    by_place = {p["applyTo"]: p for p in patches}
    assert set(by_place) == {"CLUSTER", "HTTP_ROUTE", "HTTP_FILTER"}
    bucket = by_place["HTTP_FILTER"]["patch"]["value"]["typed_config"]["value"]["token_bucket"]
    assert bucket == {"max_tokens": 25, "tokens_per_fill": 25, "fill_interval": "1s"}  # 100/s over 4 proxies


def one(value: KnobValue, knob: Knob, target: str = "web>reviews", seen: MeshFrame | None = None) -> Rendered:
    return render([proposal(knob, value, target)], seen or frame())


def test_ejecting_nobody_switches_the_detectors_off() -> None:
    policy = spec(one(OutlierDetection(0.0, 5), Knob.OUTLIER_DETECTION), "DestinationRule")["trafficPolicy"]
    assert policy["outlierDetection"] == {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 0}


def test_no_retries_and_a_per_try_timeout_are_never_side_by_side() -> None:
    both = [proposal(Knob.RETRIES, RetryPolicy(0, None)), proposal(Knob.TIMEOUT, Timeout(1.0, 0.5))]
    for first, second in ((1.0, 2.0), (2.0, 1.0)):  # whichever is rendered first
        ordered = [replace(both[0], traffic=first), replace(both[1], traffic=second)]
        http = spec(render(ordered, frame()), "VirtualService")["http"][0]
        assert http["retries"] == {"attempts": 0}
    alone = spec(one(Timeout(None, 0.5), Knob.TIMEOUT), "VirtualService")["http"][0]
    assert alone["retries"] == {"attempts": 2, "perTryTimeout": "500ms"}


@pytest.mark.parametrize(
    ("knob", "value", "target", "why"),
    [
        (
            Knob.WEIGHTS,
            BackendWeights((("10.0.0.1:80", 0.5), ("10.0.0.2:80", 0.5))),
            "web>reviews",
            "subsets",
        ),
        (Knob.WEIGHTS, BackendWeights((("v1", 1.0),)), "web>reviews", "two destinations"),
        (Knob.TIMEOUT, Timeout(1.0, None), "web>legacy", "no Kubernetes host"),
        (Knob.TIMEOUT, Timeout(None, None), "web>reviews", "removes the setting"),
        (Knob.IN_FLIGHT_CAP, InFlightCap(0, None), "web>reviews", "as no limit"),
        (Knob.CONNECTION_LIMITS, ConnectionLimits(0, None), "web>reviews", "as no limit"),
        (Knob.RATE_LIMIT, RateLimit(None), "api0", "removes the setting"),
        (Knob.TIMEOUT, Timeout(1.0, None), "gone", "no Kubernetes host"),
    ],
)
def test_what_istio_cannot_say_is_refused_by_name(knob: Knob, value: KnobValue, target: str, why: str) -> None:
    rendered = one(value, knob, target)
    assert rendered.manifests == ()
    (left,) = rendered.left_out
    assert (left.target.name, left.knob) == (target, knob.value)
    assert why in left.reason
    assert left.reason in to_yaml(rendered)


def test_several_apis_at_one_entry_are_refused() -> None:
    (left,) = one(RateLimit(5.0), Knob.RATE_LIMIT, "api0", frame(apis=2)).left_out
    assert "several APIs" in left.reason


def test_two_callers_cannot_share_one_destination_rule() -> None:
    rendered = render(
        [ALL[4], proposal(Knob.CONNECTION_LIMITS, ConnectionLimits(9, 9), "other>reviews")], frame()
    )
    assert len(rendered.left_out) == 1
    assert "all callers" in rendered.left_out[0].reason


def test_the_stream_is_yaml_with_its_warnings() -> None:
    text = to_yaml(render(ALL, frame(replicas=float("nan"))))
    assert [d["kind"] for d in yaml.safe_load_all(text)] == [
        "VirtualService",
        "DestinationRule",
        "EnvoyFilter",
    ]
    assert "the number of proxies is unknown (?)" in text
    assert to_yaml(Rendered((), ())) == "# Nothing to change.\n"


def test_whole_numbers_sum_exactly() -> None:
    for shares in ([0.005, 0.995], [1 / 7] * 7, [0.3, 0.3, 0.4], [1.0, 0.0]):
        assert sum(largest_remainder(shares)) == 100


@pytest.mark.parametrize("rate", [0.01, 0.5, 1.0, 2.5, 7.3, 99.9, 12345.6])
def test_token_buckets_keep_the_rate(rate: float) -> None:
    bucket = token_bucket(rate)
    assert bucket["tokens_per_fill"] / int(bucket["fill_interval"][:-1]) == pytest.approx(rate, rel=0.02)


def schema_of(kind: str, version: str) -> dict[str, Any]:
    return dict(json.loads(SCHEMA.read_text())[f"{kind}/{version}"])


def faults(value: Any, schema: dict[str, Any], at: str = "spec") -> list[str]:
    """What of the OpenAPI schema `value` breaks: types, enums, ranges, unknown and missing fields."""
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    if schema.get("x-kubernetes-int-or-string") or "type" not in schema:
        return []
    if not isinstance(value, kinds[schema["type"]]):
        return [f"{at}: {value!r} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} not in {schema['enum']}")
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get(
        "maximum", value
    ):
        found.append(f"{at}: {value} out of range")
    if isinstance(value, list):
        found += [f for i, item in enumerate(value) for f in faults(item, schema["items"], f"{at}[{i}]")]
    if isinstance(value, dict) and "properties" in schema:
        found += [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            if name not in schema["properties"]:
                found.append(f"{at}.{name} is unknown")
            else:
                found += faults(item, schema["properties"][name], f"{at}.{name}")
    return found


def test_the_manifests_fit_istios_own_schema() -> None:
    for manifest in render(ALL, frame()).manifests:
        kind, version = manifest.body["kind"], manifest.body["apiVersion"].split("/")[1]
        assert faults(manifest.body["spec"], schema_of(kind, version)) == []


def test_the_schema_check_can_fail() -> None:
    schema = schema_of("DestinationRule", "v1")
    assert faults({"host": HOST, "trafficPolicy": {"retryBudget": {"percent": 120}}}, schema)
    assert faults({"host": HOST, "trafficPolicy": {"retryBugdet": {}}}, schema)
