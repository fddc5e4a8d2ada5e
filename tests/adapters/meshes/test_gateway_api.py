"""Weights, timeouts and retries in routes of the Gateway API, and its retry budget."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, Edit, OwnObject
from governor.adapters.kubernetes_objects import SERVICE, Snapshot
from governor.adapters.meshes.durations import gateway_duration, seconds
from governor.adapters.meshes.gateway_api import MESH
from governor.adapters.meshes.gateway_budget import POLICY
from governor.adapters.meshes.gateway_objects import GRPC_ROUTE, HTTP_ROUTE, parents_of
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_gateway_api import DURATION, violations
from governor.knobs import BackendWeights, Knob, RetryPolicy, Timeout

from .capabilities import file_agrees
from .manifests import GATEWAY_API_ROUTE
from .objects import (
    after,
    cluster,
    gives_back,
    gives_back_what_can_be_said,
    made,
    needs_manifests,
    place,
    shared_manifests,
    snapshot_of,
)

PRODUCER = GATEWAY_API_ROUTE + "    timeouts: {request: 10s}\n"
NORTH_SOUTH = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: site, namespace: shop}
spec:
  parentRefs: [{name: public}]
  hostnames: [shop.example.com]
  rules:
  - matches: [{path: {value: /login}}]
    backendRefs: [{name: login, port: 80}]
    timeouts: {request: 1m, backendRequest: 2s500ms}
  - backendRefs: [{name: front, port: 80}]
    retry: {attempts: 3, codes: [503]}
"""
BUDGET = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: budgets, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: front}]
  retryConstraint: {budget: {percent: 30, interval: 30s}}
"""
SHOP = cluster(f"{PRODUCER}---{NORTH_SOUTH}---{BUDGET}", MESH.kinds)
REVIEWS = place("reviews", backends=("reviews-v1", "reviews-v2.shop"))
FRONT = place("front", caller="public")
HALVES = BackendWeights((("reviews-v1", 0.5), ("reviews-v2.shop", 0.5)))


def grpc(text: str) -> str:
    return text.replace("HTTPRoute", "GRPCRoute").replace("    timeouts: {request: 10s}\n", "")


def test_what_routes_say_is_read() -> None:
    assert MESH.settings(SHOP, REVIEWS) == {
        Knob.WEIGHTS: BackendWeights((("reviews-v1", 0.9), ("reviews-v2.shop", 0.1))),
        Knob.TIMEOUT: Timeout(10.0, None),
    }
    assert MESH.settings(SHOP, FRONT) == {Knob.RETRIES: RetryPolicy(3, 0.3)}
    assert MESH.settings(SHOP, place("login", caller="public")) == {Knob.TIMEOUT: Timeout(60.0, 2.5)}
    assert MESH.settings(SHOP, place("nobody")) == {}


def test_weights_are_set_in_rules_that_split_and_nowhere_else() -> None:
    (change,) = MESH.changes(SHOP, REVIEWS, HALVES)
    assert isinstance(change, Change)
    assert change.edits == (
        Edit(("spec", "rules", 1, "backendRefs", 0, "weight"), 50),
        Edit(("spec", "rules", 1, "backendRefs", 1, "weight"), 50),
    )
    gives_back(SHOP, [change])


def test_a_rule_of_a_gateway_is_set_alone_beside_rules_that_lead_elsewhere() -> None:
    (change,) = MESH.changes(SHOP, FRONT, Timeout(1.5, None))
    assert isinstance(change, Change)
    assert change.edits[0] == Edit(("spec", "rules", 1, "timeouts", "request"), "1s500ms")
    assert {edit.path[2] for edit in change.edits} == {1}


def test_the_callers_own_route_comes_before_the_producers() -> None:
    consumer = PRODUCER.replace("namespace: shop", "namespace: desk").replace(
        "name: reviews, port", "name: reviews, namespace: shop, port"
    )
    both = cluster(PRODUCER + "---" + consumer, MESH.kinds)
    away = place("reviews", caller="web.desk.svc.cluster.local")
    for where, namespace in ((REVIEWS, "shop"), (away, "desk")):
        (change,) = MESH.changes(both, where, Timeout(1.0, None))
        assert change.ref.namespace == namespace


def test_of_two_routes_the_one_on_the_callers_gateway_counts() -> None:
    inner = NORTH_SOUTH.replace("name: site", "name: inner").replace("name: public", "name: private")
    both = cluster(NORTH_SOUTH + "---" + inner, MESH.kinds)
    (change,) = MESH.changes(both, place("front", caller="private.shop"), Timeout(1.0, None))
    assert change.ref.name == "inner"
    with pytest.raises(Inexpressible, match="HTTPRoute shop/inner and HTTPRoute shop/site both lead to front"):
        MESH.changes(both, place("front", caller="other"), Timeout(1.0, None))
    assert MESH.settings(both, place("front", caller="other")) == {}


def test_a_users_budget_is_changed_where_it_stands() -> None:
    attempts, budget = MESH.changes(SHOP, FRONT, RetryPolicy(2, 0.1))
    assert isinstance(attempts, Change)
    assert isinstance(budget, Change)
    assert attempts.edits == (Edit(("spec", "rules", 1, "retry", "attempts"), 2),)
    assert Edit(("spec", "retryConstraint", "budget", "percent"), 10) in budget.edits
    assert Edit(("spec", "retryConstraint", "budget", "interval"), "30s") in budget.edits
    gives_back(SHOP, [attempts, budget])


def test_a_budget_of_ones_own_is_for_all_services_behind_the_route() -> None:
    own, change = MESH.changes(SHOP, REVIEWS, RetryPolicy(None, 0.2))
    assert isinstance(own, OwnObject)
    assert own.ref.name == "reviews-governor"
    assert [target["name"] for target in (own.body or {})["spec"]["targetRefs"]] == ["reviews-v2", "reviews-v1"]
    assert isinstance(change, Change)
    now = after(SHOP, [own, change])
    assert violations(POLICY, now.objects[own.ref]) == []
    assert MESH.settings(now, REVIEWS)[Knob.RETRIES] == RetryPolicy(None, 0.2)


def test_without_a_budget_all_of_it_goes() -> None:
    now = made(MESH, SHOP, FRONT, RetryPolicy(None, None))
    assert Knob.RETRIES not in MESH.settings(now, FRONT)
    (policy,) = (body for _, body in now.of(POLICY))
    assert "retryConstraint" not in policy["spec"]
    rule = next(body for ref, body in now.of(HTTP_ROUTE) if ref.name == "site")["spec"]["rules"][1]
    assert rule["retry"] == {"codes": [503]}


def test_weights_of_a_grpc_route() -> None:
    shop = cluster(grpc(PRODUCER), MESH.kinds)
    (change,) = MESH.changes(shop, REVIEWS, HALVES)
    assert change.ref.kind == GRPC_ROUTE
    gives_back(shop, [change])


@pytest.mark.parametrize(
    ("text", "where", "value", "reason"),
    [
        (PRODUCER, place("cart"), Timeout(1.0, None), "no HTTPRoute or GRPCRoute leads to cart"),
        (PRODUCER, place("cart"), RetryPolicy(2, None), "no HTTPRoute or GRPCRoute leads to cart"),
        (grpc(PRODUCER), REVIEWS, Timeout(1.0, None), "GRPCRoute shop/reviews has no timeouts"),
        (grpc(PRODUCER), REVIEWS, RetryPolicy(2, None), "GRPCRoute shop/reviews has no retries"),
        (PRODUCER, REVIEWS, RetryPolicy(0, None), "no fewer than 1 attempt"),
        (PRODUCER, REVIEWS, Timeout(1.0, 2.0), "a try of 2s cannot outlast its request of 1s"),
        (NORTH_SOUTH, FRONT, BackendWeights((("front", 1.0),)), "no rule of HTTPRoute shop/site splits"),
        (PRODUCER, REVIEWS, BackendWeights((("reviews-v1", 0.0), ("reviews-v2", 0.0))), "must not all be zero"),
        (
            PRODUCER,
            REVIEWS,
            BackendWeights((("reviews-v1", 0.5), ("reviews-v9", 0.5))),
            "no destination reviews-v9",
        ),
        (BUDGET + "---" + BUDGET.replace("budgets", "more"), FRONT, RetryPolicy(None, 0.1), "both are for these"),
        (
            BUDGET.replace("name: front}", "name: front}, {group: '', kind: Service, name: cart}"),
            FRONT,
            RetryPolicy(None, 0.1),
            "is for cart as well",
        ),
        (PRODUCER + "---" + BUDGET.replace("front", "reviews-v1"), REVIEWS, RetryPolicy(None, 0.1), "is not for"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(text: str, where: Place, value: Any, reason: str) -> None:
    with pytest.raises(Inexpressible, match=reason):
        MESH.changes(cluster(text, MESH.kinds), where, value)


def test_the_standard_channel_has_neither_retries_nor_budgets() -> None:
    standard = cluster(PRODUCER, (HTTP_ROUTE, GRPC_ROUTE))
    with pytest.raises(Inexpressible, match="experimental channel"):
        MESH.changes(standard, REVIEWS, RetryPolicy(2, None))
    with pytest.raises(Inexpressible, match="XBackendTrafficPolicy, which holds retry budgets, is not installed"):
        MESH.changes(standard, REVIEWS, RetryPolicy(None, 0.2))


@given(st.floats(0.001, 3_000_000.0))
def test_durations_keep_to_the_apis_spelling(value_s: float) -> None:
    text = gateway_duration(value_s)
    assert DURATION.fullmatch(text), text
    assert seconds(text) == pytest.approx(max(0.001, value_s), abs=0.000501)


@given(st.integers(0, 100), st.integers(1, 5_000), st.integers(1, 5_000), st.integers(1, 10), st.integers(0, 100))
def test_what_is_written_is_read_back(share: int, long: int, short: int, attempts: int, percent: int) -> None:
    weights = BackendWeights((("reviews-v1", share / 100), ("reviews-v2.shop", 1 - share / 100)))
    said = MESH.settings(made(MESH, SHOP, REVIEWS, weights), REVIEWS)[Knob.WEIGHTS]
    assert isinstance(said, BackendWeights)
    assert dict(said.shares) == pytest.approx(dict(weights.shares), abs=0.005)
    timeout = Timeout(max(long, short) / 1000, min(long, short) / 1000)
    said_timeout = MESH.settings(made(MESH, SHOP, REVIEWS, timeout), REVIEWS)[Knob.TIMEOUT]
    assert isinstance(said_timeout, Timeout)
    assert said_timeout.request_s == pytest.approx(timeout.request_s)
    assert said_timeout.per_try_s == pytest.approx(timeout.per_try_s)
    for where in (REVIEWS, FRONT):
        retries = RetryPolicy(attempts, percent / 100)
        assert MESH.settings(made(MESH, SHOP, where, retries), where)[Knob.RETRIES] == retries


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("timeouts",), {"request": "1s", "backendRequest": "2s"}, "backendRequest is longer than its request"),
        (("timeouts",), {"request": "1.5s"}, "is '1.5s'"),
        (("timeouts",), {"request": "123456ms"}, "is '123456ms'"),
        (("retry",), {"attempts": 0}, "retry.attempts is 0"),
        (("backendRefs",), [{"name": "a", "weight": 0}, {"name": "b", "weight": 0}], "are all zero"),
        (("backendRefs",), [{"name": "a", "weight": 1_000_001}], "no whole number of 0..1000000"),
    ],
)
def test_the_apis_rules(path: tuple[str, ...], value: Any, problem: str) -> None:
    route = yaml.safe_load(PRODUCER)
    assert violations(HTTP_ROUTE, route) == []
    route["spec"]["rules"][1][path[0]] = value
    (found,) = violations(HTTP_ROUTE, route)
    assert problem in found


def test_the_rules_of_budgets() -> None:
    policy = yaml.safe_load(BUDGET)
    assert violations(POLICY, policy) == []
    policy["spec"]["retryConstraint"] = {
        "budget": {"percent": 101, "interval": "2h"},
        "minRetryRate": {"count": 0, "interval": "0s"},
    }
    assert len(violations(POLICY, policy)) == 4
    assert violations(SERVICE, policy) == []


def test_the_file_of_capabilities_agrees() -> None:
    file_agrees(
        MESH,
        {
            Knob.WEIGHTS: (SHOP, REVIEWS, HALVES),
            Knob.TIMEOUT: (SHOP, REVIEWS, Timeout(2.0, 1.0)),
            Knob.RETRIES: (SHOP, REVIEWS, RetryPolicy(2, 0.2)),
        },
    )


def places_in(snapshot: Snapshot) -> list[Place]:
    """Every edge that the routes of a cluster carry: one a parent Service, and one a backend."""
    found: dict[tuple[str, str, tuple[str, ...]], None] = {}
    for kind in (HTTP_ROUTE, GRPC_ROUTE):
        for ref, body in snapshot.of(kind):
            names = {
                backend["name"]
                for rule in body["spec"].get("rules") or ()
                for backend in rule.get("backendRefs") or ()
            }
            for parent_kind, where, _ in parents_of(ref, body):
                if parent_kind == "Service":
                    found[(*where, tuple(sorted(names)))] = None
            found |= dict.fromkeys((name, ref.namespace, ()) for name in names)
            found[(ref.name, ref.namespace, tuple(sorted(names)))] = None
    return [place(name, namespace, backends=backends) for name, namespace, backends in found]


@needs_manifests
def test_routes_of_real_users_take_every_knob_and_give_it_back() -> None:
    count = 0
    for path in shared_manifests("gateway-api", "istio", "linkerd", "envoy-gateway"):
        found = snapshot_of(yaml.safe_load_all(path.read_text()), MESH.kinds)
        for where in places_in(found):
            equal = BackendWeights(tuple((name, 1 / len(where.backends)) for name in where.backends))
            values = (equal, Timeout(2.5, 1.25), RetryPolicy(2, None), RetryPolicy(None, 0.15))
            count += gives_back_what_can_be_said(MESH, found, where, values)
    assert count > 100
