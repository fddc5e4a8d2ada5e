"""Linkerd's annotations, rate limit policies and ServiceProfiles: read, written, refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, Edit, OwnObject
from governor.adapters.kubernetes_objects import SERVICE, Ref, Snapshot
from governor.adapters.meshes.gateway_objects import HTTP_ROUTE
from governor.adapters.meshes.linkerd import MESH
from governor.adapters.meshes.linkerd_objects import LIMIT_POLICY
from governor.adapters.meshes.rules_linkerd import seconds_of, violations
from governor.knobs import (
    BackendWeights,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
)

from .capabilities import file_agrees
from .manifests import LINKERD_LIMIT as LIMIT
from .manifests import LINKERD_PROFILE
from .manifests import LINKERD_SERVER as SERVER
from .manifests import LINKERD_SERVICE as SERVICE_TEXT
from .objects import cluster, gives_back, made, place

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: books-get, namespace: shop}
spec:
  parentRefs: [{group: core, kind: Service, name: books, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /books}}]
    backendRefs: [{name: books, port: 80}]
"""
PROFILE = (
    LINKERD_PROFILE
    + """\
  dstOverrides:
  - {authority: "books-v1.shop.svc.cluster.local:80", weight: 900m}
  - {authority: "books-v2.shop.svc.cluster.local:80", weight: "30"}
  - {authority: "books-v3.shop.svc.cluster.local:80", weight: 90}
"""
)
BOOKS = place("books", callee_proxies=4, api="books", apis=("books",))
THE_SERVICE = Ref(SERVICE, "shop", "books")
THE_ROUTE = Ref(HTTP_ROUTE, "shop", "books-get")
RETRYING = {"retry.linkerd.io/http": "500-504,429", "retry.linkerd.io/limit": "3"}


def annotated(text: str, annotations: dict[str, str], **metadata: str) -> str:
    body = yaml.safe_load(text)
    body["metadata"] |= metadata
    body["metadata"]["annotations"] = {**body["metadata"].get("annotations", {}), **annotations}
    return "---\n" + yaml.safe_dump(body)


def shop(*texts: str) -> Snapshot:
    return cluster("\n---\n".join(texts), MESH.kinds)


def annotations(snapshot: Snapshot, ref: Ref) -> dict[str, str]:
    found: dict[str, str] = snapshot.objects[ref]["metadata"].get("annotations", {})
    return found


def test_nothing_is_said_where_nothing_is_written() -> None:
    assert MESH.settings(shop(SERVICE_TEXT), BOOKS) == {}
    assert MESH.settings(shop(), BOOKS) == {}


def test_annotations_of_the_service_are_read() -> None:
    said = {
        **RETRYING,
        "retry.linkerd.io/timeout": "250ms",
        "timeout.linkerd.io/request": "2s",
        "balancer.linkerd.io/failure-accrual": "consecutive",
    }
    assert MESH.settings(shop(annotated(SERVICE_TEXT, said)), BOOKS) == {
        Knob.RETRIES: RetryPolicy(3, None),
        Knob.TIMEOUT: Timeout(2.0, 0.25),
        Knob.OUTLIER_DETECTION: OutlierDetection(None, 7),
    }


def test_a_route_with_a_family_of_annotations_hides_the_services() -> None:
    found = shop(annotated(SERVICE_TEXT, RETRYING), annotated(ROUTE, {**RETRYING, "retry.linkerd.io/limit": "5"}))
    assert MESH.settings(found, BOOKS)[Knob.RETRIES] == RetryPolicy(5, None)
    (change,) = MESH.changes(found, BOOKS, RetryPolicy(1, None))
    assert change.ref == THE_ROUTE


def test_a_route_of_the_callers_namespace_hides_those_of_the_callees() -> None:
    consumer = ROUTE.replace("namespace: shop", "namespace: web").replace(
        "name: books,", "name: books, namespace: shop,"
    )
    found = shop(
        SERVICE_TEXT,
        annotated(ROUTE, {"timeout.linkerd.io/request": "2s"}),
        annotated(consumer, {"timeout.linkerd.io/request": "3s"}),
    )
    outside = place("books", caller="front.web.svc.cluster.local")
    assert MESH.settings(found, BOOKS)[Knob.TIMEOUT] == Timeout(2.0, None)
    assert MESH.settings(found, outside)[Knob.TIMEOUT] == Timeout(3.0, None)


def test_retries_are_turned_off_without_a_condition_and_on_again_with_the_one_that_was_there() -> None:
    start = shop(annotated(SERVICE_TEXT, RETRYING))
    off = made(MESH, start, BOOKS, RetryPolicy(0, None))
    assert annotations(off, THE_SERVICE) == {
        "team": "books",
        "mesh-governor.github.io/waiting-retry-http": "500-504,429",
    }
    assert MESH.settings(off, BOOKS)[Knob.RETRIES] == RetryPolicy(0, None)
    on = made(MESH, off, BOOKS, RetryPolicy(3, None))
    assert annotations(on, THE_SERVICE) == {"team": "books", **RETRYING}
    gives_back(start, MESH.changes(start, BOOKS, RetryPolicy(0, None)))


def test_no_limit_leaves_linkerds_own() -> None:
    now = made(MESH, shop(annotated(SERVICE_TEXT, RETRYING)), BOOKS, RetryPolicy(None, None))
    assert annotations(now, THE_SERVICE) == {"team": "books", "retry.linkerd.io/http": "500-504,429"}
    assert Knob.RETRIES not in MESH.settings(now, BOOKS)


def test_where_nothing_is_retried_no_retries_need_no_change() -> None:
    assert list(MESH.changes(shop(SERVICE_TEXT), BOOKS, RetryPolicy(0, None))) == []


@given(st.integers(0, 65535))
def test_retries_that_are_written_are_read_back(attempts: int) -> None:
    for start in (shop(annotated(SERVICE_TEXT, RETRYING)), shop(SERVICE_TEXT, annotated(ROUTE, RETRYING))):
        now = made(MESH, start, BOOKS, RetryPolicy(attempts, None))
        assert MESH.settings(now, BOOKS)[Knob.RETRIES] == RetryPolicy(attempts, None)


@given(st.none() | st.floats(0.001, 3600), st.none() | st.floats(0.001, 3600))
def test_timeouts_that_are_written_are_read_back_to_the_millisecond(
    request_s: float | None, per_try_s: float | None
) -> None:
    now = made(MESH, shop(annotated(SERVICE_TEXT, RETRYING)), BOOKS, Timeout(request_s, per_try_s))
    said = MESH.settings(now, BOOKS).get(Knob.TIMEOUT, Timeout(None, None))
    assert isinstance(said, Timeout)
    assert said.request_s == (request_s if request_s is None else pytest.approx(request_s, abs=0.0006))
    assert said.per_try_s == (per_try_s if per_try_s is None else pytest.approx(per_try_s, abs=0.0006))


def test_a_timeout_in_a_routes_rules_is_read_and_an_annotation_beats_it() -> None:
    body = yaml.safe_load(ROUTE)
    body["spec"]["rules"][0]["timeouts"] = {"request": "10s"}
    found = shop(SERVICE_TEXT, yaml.safe_dump(body))
    assert MESH.settings(found, BOOKS)[Knob.TIMEOUT] == Timeout(10.0, None)
    now = made(MESH, found, BOOKS, Timeout(1.5, None))
    assert annotations(now, THE_ROUTE) == {"timeout.linkerd.io/request": "1500ms"}
    assert MESH.settings(now, BOOKS)[Knob.TIMEOUT] == Timeout(1.5, None)


@given(st.none() | st.integers(1, 2**32 - 1))
def test_circuit_breaking_that_is_written_is_read_back(failures: int | None) -> None:
    now = made(MESH, shop(SERVICE_TEXT), BOOKS, OutlierDetection(None, failures))
    said = MESH.settings(now, BOOKS).get(Knob.OUTLIER_DETECTION, OutlierDetection(None, None))
    assert said == OutlierDetection(None, failures)


def test_no_failures_in_a_row_turns_circuit_breaking_off() -> None:
    on = shop(annotated(SERVICE_TEXT, {"balancer.linkerd.io/failure-accrual": "consecutive"}))
    off = made(MESH, on, BOOKS, OutlierDetection(None, 0))
    assert annotations(off, THE_SERVICE) == {"team": "books"}


def test_a_rate_limit_is_a_policy_of_our_own_where_there_is_none() -> None:
    found = shop(SERVICE_TEXT, SERVER)
    (change,) = MESH.changes(found, BOOKS, RateLimit(90.0))
    assert change == OwnObject(
        Ref(LIMIT_POLICY, "shop", "books-http-governor"),
        {
            "spec": {
                "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "books-http"},
                "total": {"requestsPerSecond": 23},
            }
        },
    )
    now = made(MESH, found, BOOKS, RateLimit(90.0))
    assert MESH.settings(now, BOOKS) == {Knob.RATE_LIMIT: RateLimit(92.0)}
    assert LIMIT_POLICY not in {ref.kind for ref in made(MESH, now, BOOKS, RateLimit(None)).objects}
    assert list(MESH.changes(found, BOOKS, RateLimit(None))) == []


@given(st.integers(20, 10**6))
def test_a_limit_of_the_users_policy_is_changed_in_place(each: int) -> None:
    found = shop(SERVICE_TEXT, SERVER, LIMIT)
    assert MESH.settings(found, BOOKS) == {Knob.RATE_LIMIT: RateLimit(400.0)}
    (change,) = MESH.changes(found, BOOKS, RateLimit(4.0 * each))
    assert change == Change(
        Ref(LIMIT_POLICY, "shop", "books-limit"), (Edit(("spec", "total", "requestsPerSecond"), each),)
    )
    gives_back(found, [change])
    assert MESH.settings(made(MESH, found, BOOKS, RateLimit(4.0 * each)), BOOKS) == {
        Knob.RATE_LIMIT: RateLimit(4.0 * each)
    }


def test_a_service_profile_is_read_and_only_its_budget_is_written() -> None:
    found = shop(annotated(SERVICE_TEXT, RETRYING), PROFILE)
    where = place("books", backends=("books-v2", "books-v3"))
    assert MESH.settings(found, where) == {
        Knob.WEIGHTS: BackendWeights(
            (
                ("books-v1", pytest.approx(0.9 / 120.9)),
                ("books-v2", pytest.approx(30 / 120.9)),
                ("books-v3", pytest.approx(90 / 120.9)),
            )
        ),
        Knob.RETRIES: RetryPolicy(None, 0.2),
    }
    now = made(MESH, found, where, RetryPolicy(None, 0.05))
    assert MESH.settings(now, where)[Knob.RETRIES] == RetryPolicy(None, 0.05)
    gives_back(found, MESH.changes(found, where, RetryPolicy(None, 0.05)))


SPLIT = yaml.safe_load(ROUTE)
SPLIT["spec"]["rules"][0]["backendRefs"] = [
    {"name": "books-v1", "port": 80, "weight": 9},
    {"name": "books-v2", "port": 80},
]


@given(st.integers(0, 100))
def test_weights_of_a_route_that_are_written_are_read_back(percent: int) -> None:
    where = place("books", backends=("books-v1", "books-v2"))
    policy = SPLIT | {"apiVersion": "policy.linkerd.io/v1beta3"}
    for found in (shop(SERVICE_TEXT, yaml.safe_dump(SPLIT)), shop(SERVICE_TEXT, yaml.safe_dump(policy))):
        assert MESH.settings(found, where) == {
            Knob.WEIGHTS: BackendWeights((("books-v1", 0.9), ("books-v2", 0.1)))
        }
        value = BackendWeights((("books-v1", percent / 100), ("books-v2", 1 - percent / 100)))
        gives_back(found, MESH.changes(found, where, value))
        said = MESH.settings(made(MESH, found, where, value), where)[Knob.WEIGHTS]
        assert isinstance(said, BackendWeights)
        assert dict(said.shares) == pytest.approx(dict(value.shares), abs=0.005)


def test_the_file_of_capabilities_agrees() -> None:
    found = shop(annotated(SERVICE_TEXT, RETRYING), yaml.safe_dump(SPLIT), SERVER)
    file_agrees(
        MESH,
        {
            Knob.WEIGHTS: (found, BOOKS, BackendWeights((("books-v1", 0.5), ("books-v2", 0.5)))),
            Knob.RETRIES: (found, BOOKS, RetryPolicy(2, None)),
            Knob.TIMEOUT: (found, BOOKS, Timeout(2.0, 0.5)),
            Knob.OUTLIER_DETECTION: (found, BOOKS, OutlierDetection(None, 5)),
            Knob.RATE_LIMIT: (found, BOOKS, RateLimit(100.0)),
        },
    )


@pytest.mark.parametrize(
    ("objects", "value", "reason"),
    [
        ([], Timeout(2.0, None), "Service shop/books is not there"),
        (
            [SERVICE_TEXT.replace("selector:", "clusterIP: None, selector:")],
            Timeout(2.0, None),
            "no address of its own",
        ),
        (
            [annotated(SERVICE_TEXT, {"config.linkerd.io/opaque-ports": "25, 79-81"})],
            Timeout(2.0, None),
            "all ports of Service shop/books are in config.linkerd.io/opaque-ports",
        ),
        ([SERVICE_TEXT], RetryPolicy(2, None), "do not say which answers may be retried"),
        ([annotated(SERVICE_TEXT, RETRYING)], RetryPolicy(70000, None), "at most 65535"),
        ([annotated(SERVICE_TEXT, RETRYING)], RetryPolicy(2, 0.2), "budget only in a ServiceProfile"),
        ([SERVICE_TEXT], Timeout(2.0, 1.0), "has no retry.linkerd.io/http"),
        ([SERVICE_TEXT], OutlierDetection(0.3, 5), "no largest share of endpoints"),
        (
            [annotated(SERVICE_TEXT, {"balancer.linkerd.io/failure-accrual": "unified"})],
            OutlierDetection(None, 5),
            "failure-accrual: unified",
        ),
        (
            [
                SERVICE_TEXT,
                annotated(ROUTE, {"timeout.linkerd.io/request": "2s"}),
                annotated(ROUTE, {}, name="b"),
            ],
            Timeout(1.0, None),
            "HTTPRoute shop/books-get and Service shop/books differ in timeout.linkerd.io/request",
        ),
        (
            [annotated(SERVICE_TEXT, RETRYING), annotated(ROUTE, RETRYING)],
            RetryPolicy(0, None),
            "those of Service shop/books would come into force",
        ),
        ([SERVICE_TEXT], RateLimit(10.0), "no Server selects the pods and port of Service shop/books"),
        ([SERVICE_TEXT, SERVER.replace("8080", "http")], RateLimit(10.0), "no Server selects"),
        (
            [SERVICE_TEXT, SERVER, SERVER.replace("books-http", "other")],
            RateLimit(10.0),
            "Server shop/books-http and Server shop/other both are of",
        ),
        (
            [SERVICE_TEXT, SERVER, LIMIT, LIMIT.replace("books-limit", "other")],
            RateLimit(100.0),
            "both limit Server shop/books-http",
        ),
        ([SERVICE_TEXT, SERVER, LIMIT], RateLimit(40.0), "above spec.total.requestsPerSecond 10"),
        ([SERVICE_TEXT, PROFILE], Timeout(2.0, None), "ServiceProfile shop/books.shop.svc.cluster.local makes"),
        ([SERVICE_TEXT, PROFILE], BackendWeights((("books-v1", 1.0),)), "delete it"),
        ([SERVICE_TEXT], BackendWeights((("books-v1", 1.0),)), "has the Service shop/books as its parent"),
        (
            [SERVICE_TEXT, ROUTE.replace("Service,", "Server,")],
            BackendWeights((("books", 1.0),)),
            "has the Service shop/books as its parent",
        ),
        ([SERVICE_TEXT, PROFILE], RetryPolicy(2, 0.1), "no field for a number of retries"),
        (
            [SERVICE_TEXT, PROFILE.replace("retryBudget", "opaque")],
            RetryPolicy(None, 0.1),
            "write one with retryRatio",
        ),
        ([SERVICE_TEXT, PROFILE], RetryPolicy(None, None), "cannot be without its retryRatio"),
    ],
)
def test_what_linkerd_cannot_say_is_refused_by_name(objects: list[str], value: KnobValue, reason: str) -> None:
    with pytest.raises(Inexpressible, match=reason):
        MESH.changes(shop(*objects), BOOKS, value)


def test_several_apis_of_one_entry_cannot_be_told_apart() -> None:
    with pytest.raises(Inexpressible, match="several APIs enter here"):
        MESH.changes(shop(SERVICE_TEXT, SERVER), place("books", api="a", apis=("a", "b")), RateLimit(10.0))


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["books", "authors"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["authors"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "version", "operator": "Exists"}]}, False),
        ({"matchLabels": {"app": "authors"}}, False),
    ],
)
def test_a_server_is_the_services_only_if_it_surely_selects_its_pods(
    selector: dict[str, Any], selected: bool
) -> None:
    server = yaml.safe_load(SERVER)
    server["spec"]["podSelector"] = selector
    said = MESH.settings(shop(SERVICE_TEXT, yaml.safe_dump(server), LIMIT), BOOKS)
    assert (Knob.RATE_LIMIT in said) is selected


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("retry.linkerd.io/http", ["5xx", "gateway-error", "500-504,429"], ["", "6xx", "500-"]),
        ("retry.linkerd.io/grpc", ["cancelled,internal"], ["ok"]),
        ("retry.linkerd.io/limit", ["0", "65535"], ["65536", "-1", "1.5", ""]),
        ("retry.linkerd.io/timeout", ["0", "300ms", "1d"], ["1.5s", "1m30s", "5", "-1s"]),
        ("timeout.linkerd.io/idle", ["10m"], ["10min"]),
        ("balancer.linkerd.io/failure-accrual", ["consecutive", "unified"], ["rate"]),
        ("balancer.linkerd.io/failure-accrual-consecutive-max-failures", ["7"], ["x"]),
    ],
)
def test_how_linkerd_spells_its_annotations(name: str, good: list[str], bad: list[str]) -> None:
    for text, count in [*((t, 0) for t in good), *((t, 1) for t in bad)]:
        assert len(violations(SERVICE, {"metadata": {"annotations": {name: text}}})) == count, text


def test_limits_within_limits() -> None:
    body = yaml.safe_load(LIMIT)
    assert violations(LIMIT_POLICY, body) == []
    body["spec"] |= {"identity": {"requestsPerSecond": 101}, "overrides": [{"requestsPerSecond": 0}]}
    assert violations(LIMIT_POLICY, body) == [
        "spec.identity.requestsPerSecond is 101, above spec.total.requestsPerSecond 100",
        "spec.overrides[0].requestsPerSecond is 0, not at least 1",
    ]


def test_a_service_with_one_port_that_is_not_opaque_has_requests() -> None:
    for ports in ("25", "81-90,x", ""):
        found = shop(annotated(SERVICE_TEXT, {"config.linkerd.io/opaque-ports": ports}))
        assert MESH.changes(found, BOOKS, Timeout(2.0, None))


def test_durations() -> None:
    assert [seconds_of(t) for t in ("250ms", "2s", "1m", "1h", "1d", "0", "0s", "1.5s")] == [
        0.25, 2.0, 60.0, 3600.0, 86400.0, None, None, None,
    ]  # fmt: skip
