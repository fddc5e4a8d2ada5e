"""What Envoy Gateway's policies and routes say of an edge, and how they are made to say something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, Edit, OwnObject, value_at
from governor.adapters.kubernetes_objects import Snapshot
from governor.adapters.meshes.envoy_gateway import MESH
from governor.adapters.meshes.envoy_gateway_policies import POLICY
from governor.adapters.meshes.gateway_objects import GRPC_ROUTE, HTTP_ROUTE
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_envoy_gateway import violations
from governor.knobs import (
    VALUE_TYPES,
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
    value_to_json,
)

from .capabilities import file_agrees
from .manifests import ENVOY_GATEWAY_FULL_POLICY as USERS
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

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: shop, labels: {team: api}}
spec:
  parentRefs: [{name: public}]
  rules:
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: api-r0, weight: 1}
    - {group: gateway.envoyproxy.io, kind: Backend, name: api-r1, weight: 3}
"""
SHARED_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: site, namespace: shop}
spec:
  parentRefs: [{name: public}]
  rules:
  - name: api
    backendRefs: [{name: api, port: 80}]
  - backendRefs: [{name: cart, port: 80}]
"""
ABOVE = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: all, namespace: shop}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: public}
  circuitBreaker: {maxParallelRequests: 500, maxConnections: 70}
  timeout: {http: {requestTimeout: 30s}}
"""
FOREIGN = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: shop}
spec: {gatewayClassName: theirs}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs, namespace: ''}
spec: {controllerName: istio.io/gateway-controller}
"""
BACKENDS = ("api-r0", "api-r1")
API = place("api", caller="public", backends=BACKENDS)
TWO = place("api", caller="public", backends=BACKENDS, caller_proxies=2)
ONE_API = place("api", caller="public", backends=BACKENDS, api="api", apis=("api",))
VALUES: tuple[KnobValue, ...] = (
    BackendWeights((("api-r0", 0.4), ("api-r1", 0.6))),
    Timeout(2.5, None),
    RetryPolicy(1, 0.1),
    RetryPolicy(None, 0.1),
    InFlightCap(64, 64),
    ConnectionLimits(100, 50),
    OutlierDetection(0.3, 7),
    RateLimit(25.0),
)


KNOB_OF = {kind: knob for knob, kind in VALUE_TYPES.items()}


def shop(*texts: str) -> Snapshot:
    return cluster("---".join(texts), MESH.kinds)


def only_policy(snapshot: Snapshot, name: str) -> dict[str, Any]:
    (body,) = (body for ref, body in snapshot.of(POLICY) if ref.name == name)
    return dict(body)


def test_what_a_users_policy_says_is_read() -> None:
    assert MESH.settings(shop(ROUTE, USERS), TWO) == {
        Knob.WEIGHTS: BackendWeights((("api-r0", 0.25), ("api-r1", 0.75))),
        Knob.TIMEOUT: Timeout(60.0, 0.25),
        Knob.RETRIES: RetryPolicy(4, None),
        Knob.IN_FLIGHT_CAP: InFlightCap(400, 400),
        Knob.CONNECTION_LIMITS: ConnectionLimits(2048, 2048),
        Knob.RATE_LIMIT: RateLimit(3.0),
    }


def test_a_policy_of_the_gateway_holds_unless_one_of_the_route_hides_it() -> None:
    said = MESH.settings(shop(ROUTE, ABOVE), API)
    assert said[Knob.CONNECTION_LIMITS] == ConnectionLimits(70, 1024)
    assert said[Knob.TIMEOUT] == Timeout(30.0, None)
    hidden = USERS.replace("  timeout: {http: {requestTimeout: 1m}}\n", "")
    assert MESH.settings(shop(ROUTE, ABOVE, hidden), API)[Knob.TIMEOUT] == Timeout(None, 0.25)
    merged = hidden + "  mergeType: StrategicMerge\n"
    assert MESH.settings(shop(ROUTE, ABOVE, merged), API)[Knob.TIMEOUT] == Timeout(30.0, 0.25)


@pytest.mark.parametrize("value", VALUES)
def test_a_users_policy_changes_in_named_leaves_and_comes_back(value: KnobValue) -> None:
    found = shop(ROUTE, USERS)
    changes = MESH.changes(found, ONE_API, value)
    assert all(isinstance(change, Change) for change in changes)
    gives_back(found, changes)
    now = after(found, changes)
    assert all(violations(ref.kind, body) == [] for ref, body in now.objects.items())


@pytest.mark.parametrize("value", VALUES)
def test_without_a_users_policy_there_is_one_of_the_governors_own(value: KnobValue) -> None:
    found = shop(ROUTE)
    changes = MESH.changes(found, ONE_API, value)
    if isinstance(value, BackendWeights):
        assert [change.ref.kind for change in changes] == [HTTP_ROUTE]
        return
    own, change = changes
    assert isinstance(own, OwnObject)
    assert own.ref.name == "api-http-governor"
    assert own.body == {
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "api"}],
        }
    }
    assert isinstance(change, Change)
    now = after(found, changes)
    assert violations(POLICY, now.objects[own.ref]) == []
    assert type(value) in map(type, MESH.settings(now, ONE_API).values())


def test_the_governors_own_merges_with_the_gateways_and_hides_nothing_of_it() -> None:
    found = shop(ROUTE, ABOVE)
    for value in (RetryPolicy(3, None), OutlierDetection(0.3, 7), ConnectionLimits(60, 50), InFlightCap(64, 64)):
        before = MESH.settings(found, API)
        found = made(MESH, found, API, value)
        now = MESH.settings(found, API)
        assert [knob for knob in now if now[knob] != before.get(knob)] == [KNOB_OF[type(value)]]
    own = only_policy(found, "api-http-governor")["spec"]
    assert own["mergeType"] == "StrategicMerge"
    assert own["circuitBreaker"] == {
        "maxParallelRequests": 64, "maxConnections": 60, "maxPendingRequests": 50, "maxParallelRetries": 1024,
    }  # fmt: skip


CLASSES = ROUTE.replace("  - backendRefs:", "  - name: buy-high\n    backendRefs:") + (
    "  - name: buy-low\n"
    "    backendRefs:\n"
    "    - {group: gateway.envoyproxy.io, kind: Backend, name: api-r0}\n"
    "    - {group: gateway.envoyproxy.io, kind: Backend, name: api-r1}\n"
)


@pytest.mark.parametrize("high", ["buy-high", "buy.high", "high"])
def test_the_rule_of_the_high_class_is_known_by_its_name(high: str) -> None:
    now = made(MESH, shop(CLASSES.replace("buy-high", high)), API, InFlightCap(40, 60))
    spec = only_policy(now, f"api-http-{high}-governor")["spec"]
    assert spec["circuitBreaker"]["maxParallelRequests"] == 60


def test_each_class_has_a_cap_where_a_rule_takes_it() -> None:
    found = shop(CLASSES, ABOVE)
    now = made(MESH, found, TWO, InFlightCap(40, 60))
    assert MESH.settings(now, TWO)[Knob.IN_FLIGHT_CAP] == InFlightCap(40, 60)
    for section, cap in (("buy-high", 30), ("buy-low", 20)):
        spec = only_policy(now, f"api-http-{section}-governor")["spec"]
        assert [target["sectionName"] for target in spec["targetRefs"]] == [section]
        assert spec["circuitBreaker"]["maxParallelRequests"] == cap
    for value in (ConnectionLimits(10, 10), RateLimit(9.0)):
        with pytest.raises(
            Inexpressible, match=r"2 rules \(HTTPRoute shop/api buy-high, .*\) lead to this service"
        ):
            MESH.changes(found, ONE_API, value)
    retries = made(MESH, now, TWO, RetryPolicy(1, 0.1))
    assert MESH.settings(retries, TWO)[Knob.RETRIES] == RetryPolicy(1, 0.1)
    assert MESH.settings(retries, TWO)[Knob.IN_FLIGHT_CAP] == InFlightCap(40, 60)
    with pytest.raises(Inexpressible, match=r"2 rules \(.*\) are of one class"):
        MESH.changes(shop(CLASSES.replace("buy-high", "sell")), TWO, InFlightCap(40, 60))


API_ROUTES = "---".join(
    ROUTE.replace("name: api,", f"name: {name},").replace("weight: 1", weight)
    for name, weight in (("buy.high", "weight: 1"), ("buy.low", "weight: 2"))
)


def test_several_routes_carry_one_edge_each_with_its_class_and_api() -> None:
    found = shop(API_ROUTES, ABOVE)
    now = made(MESH, found, API, InFlightCap(40, 60))
    assert MESH.settings(now, API)[Knob.IN_FLIGHT_CAP] == InFlightCap(40, 60)
    assert only_policy(now, "buy.high-http-governor")["spec"]["circuitBreaker"]["maxParallelRequests"] == 60
    apis = ("buy.high", "buy.low")
    high, low = (place("api", caller="public", backends=BACKENDS, api=api, apis=apis) for api in apis)
    limited = made(MESH, made(MESH, now, high, RateLimit(30.0)), low, RateLimit(10.0))
    assert MESH.settings(limited, high)[Knob.RATE_LIMIT] == RateLimit(30.0)
    assert MESH.settings(limited, low)[Knob.RATE_LIMIT] == RateLimit(10.0)
    shares = BackendWeights((("api-r0", 0.4), ("api-r1", 0.6)))
    changes = MESH.changes(found, API, shares)
    assert {change.ref.name for change in changes} == set(apis)
    gives_back(found, changes)


def test_one_route_alone_is_for_all_classes_whatever_it_is_called() -> None:
    found = shop(ROUTE.replace("name: api,", "name: buy.high,"))
    now = made(MESH, found, API, InFlightCap(40, 60))
    assert only_policy(now, "buy.high-http-governor")["spec"]["circuitBreaker"]["maxParallelRequests"] == 40
    assert MESH.settings(now, API)[Knob.IN_FLIGHT_CAP] == InFlightCap(40, 40)


def test_weights_are_those_of_the_routes_that_split() -> None:
    second = "    - {group: gateway.envoyproxy.io, kind: Backend, name: api-r1, weight: 3}\n"
    high, low = API_ROUTES.split("---")
    found = shop(high, low.replace(second, ""))
    changes = MESH.changes(found, API, BackendWeights((("api-r0", 0.4), ("api-r1", 0.6))))
    assert [change.ref.name for change in changes] == ["buy.high"]
    assert MESH.settings(found, API)[Knob.WEIGHTS] == BackendWeights((("api-r0", 0.25), ("api-r1", 0.75)))


def test_routes_of_different_gateways_are_refused_where_none_is_the_callers() -> None:
    high, low = API_ROUTES.split("---")
    found = shop(high, low.replace("name: public", "name: internal"))
    with pytest.raises(Inexpressible, match=r"buy\.high and HTTPRoute shop/buy\.low both lead to api\.shop"):
        MESH.changes(found, replace(API, caller="outside"), InFlightCap(40, 60))
    (own, _) = MESH.changes(found, API, InFlightCap(40, 60))
    assert own.ref.name == "buy.high-http-governor"


def test_a_users_policy_of_one_rule_stays_the_one_of_that_rule() -> None:
    theirs = USERS.replace("name: api}]", "name: api, sectionName: buy-low}]")
    found = shop(CLASSES, theirs)
    changes = MESH.changes(found, TWO, InFlightCap(40, 60))
    assert {change.ref.name for change in changes} == {"api-http-buy-high-governor", "theirs"}
    gives_back(found, [change for change in changes if change.ref in found.objects])


def test_the_governors_own_begins_to_merge_when_a_policy_appears_above() -> None:
    now = made(MESH, shop(ROUTE), API, RetryPolicy(3, None))
    objects = {**now.objects, **shop(ABOVE).objects}
    own, _ = MESH.changes(Snapshot(objects, now.installed), API, RetryPolicy(2, None))
    assert isinstance(own, OwnObject)
    assert (own.body or {})["spec"]["mergeType"] == "StrategicMerge"


def test_what_the_definition_fills_in_is_named_and_goes_with_the_rest() -> None:
    found = shop(ROUTE, USERS)
    (change,) = MESH.changes(found, API, OutlierDetection(0.3, 7))
    assert isinstance(change, Change)
    passive = ("spec", "healthCheck", "passive")
    assert Edit((*passive, "interval"), "3s") in change.edits
    assert Edit((*passive, "maxEjectionPercent"), 30) in change.edits
    now = after(found, [change])
    gone = made(MESH, now, API, OutlierDetection(None, None))
    assert Knob.OUTLIER_DETECTION not in MESH.settings(gone, API)
    assert gone.objects == found.objects


def test_a_second_value_names_the_same_leaves_as_the_first() -> None:
    found = shop(ROUTE, USERS)
    for one, other in ((InFlightCap(9, 9), InFlightCap(8, 8)), (RetryPolicy(1, 0.2), RetryPolicy(2, 0.1))):
        first = MESH.changes(found, API, one)
        second = MESH.changes(after(found, first), API, other)
        for before, now in zip(first, second, strict=True):
            assert isinstance(before, Change)
            assert isinstance(now, Change)
            assert [edit.path for edit in before.edits] == [edit.path for edit in now.edits]


def test_limits_are_each_proxys_part_rounded_up() -> None:
    now = made(MESH, shop(ROUTE), TWO, InFlightCap(63, 63))
    assert only_policy(now, "api-http-governor")["spec"]["circuitBreaker"]["maxParallelRequests"] == 32


@pytest.mark.parametrize(("high", "each"), [(66, 40), (16, 10), (400, 221), (1, 1)])
def test_clusters_that_share_the_cap_of_the_high_class_each_have_room_for_bursts(high: int, each: int) -> None:
    found = shop(API_ROUTES.replace("weight: 3}", "weight: 3, filters: [{type: RequestHeaderModifier}]}"))
    now = made(MESH, found, API, InFlightCap(44, high))
    caps = [
        only_policy(now, f"{name}-http-governor")["spec"]["circuitBreaker"]["maxParallelRequests"]
        for name in ("buy.high", "buy.low")
    ]
    assert caps == [each, 22]
    read = MESH.settings(now, API)[Knob.IN_FLIGHT_CAP]
    assert isinstance(read, InFlightCap)
    assert read.default == 44
    assert read.high == pytest.approx(high, abs=1)


def test_the_largest_limit_is_none() -> None:
    found = shop(ROUTE, ABOVE.replace("500", "4294967295").replace("70", "4294967295"))
    said = MESH.settings(found, TWO)
    assert Knob.IN_FLIGHT_CAP not in said
    assert said[Knob.CONNECTION_LIMITS] == ConnectionLimits(None, 2048)
    now = made(MESH, found, TWO, InFlightCap(40, 60))
    assert only_policy(now, "api-http-governor")["spec"]["circuitBreaker"]["maxConnections"] == 4294967295


def test_backends_with_filters_count_apart() -> None:
    text = ROUTE.replace("weight: 1}", "weight: 1, filters: [{type: RequestHeaderModifier}]}")
    found = shop(text)
    now = made(MESH, found, TWO, InFlightCap(64, 64))
    assert only_policy(now, "api-http-governor")["spec"]["circuitBreaker"]["maxParallelRequests"] == 16
    assert MESH.settings(now, TWO)[Knob.IN_FLIGHT_CAP] == InFlightCap(64, 64)
    idle = made(MESH, shop(text.replace("weight: 3", "weight: 0")), TWO, InFlightCap(64, 64))
    assert only_policy(idle, "api-http-governor")["spec"]["circuitBreaker"]["maxParallelRequests"] == 32


def test_a_rule_is_found_by_its_first_backend_alone() -> None:
    first = place("api-r0", caller="public", backends=("127.0.0.1:8080",))
    found = shop(ROUTE)
    assert MESH.settings(made(MESH, found, first, RetryPolicy(1, None)), first)[Knob.RETRIES] == RetryPolicy(
        1, None
    )
    with pytest.raises(Inexpressible, match="leads from a Gateway"):
        MESH.changes(found, place("api-r1", caller="public"), RetryPolicy(1, None))


def test_a_rule_among_others_is_named_by_its_section() -> None:
    found = shop(SHARED_ROUTE)
    now = made(MESH, found, place("api", caller="public"), InFlightCap(20, 20))
    (target,) = only_policy(now, "site-http-api-governor")["spec"]["targetRefs"]
    assert target["sectionName"] == "api"
    assert MESH.settings(now, place("api", caller="public"))[Knob.IN_FLIGHT_CAP] == InFlightCap(20, 20)
    assert MESH.settings(now, place("cart", caller="public")) == {}


def test_what_the_route_says_itself_is_changed_there() -> None:
    text = ROUTE + "    timeouts: {request: 5s, backendRequest: 1s}\n    retry: {attempts: 2, codes: [503]}\n"
    found = shop(text, USERS)
    assert MESH.settings(found, API)[Knob.RETRIES] == RetryPolicy(2, None)
    assert MESH.settings(found, API)[Knob.TIMEOUT] == Timeout(5.0, 1.0)
    (change,) = MESH.changes(found, API, Timeout(4.0, 2.0))
    assert change.ref.kind == HTTP_ROUTE
    attempts, budget = MESH.changes(found, API, RetryPolicy(1, 0.1))
    assert (attempts.ref.kind, budget.ref.kind) == (HTTP_ROUTE, POLICY)


def test_a_grpc_route_has_its_timeouts_by_policy() -> None:
    found = shop(ROUTE.replace("HTTPRoute", "GRPCRoute"))
    own, _ = MESH.changes(found, API, Timeout(2.0, None))
    assert own.ref.name == "api-grpc-governor"


def test_a_rate_limit_stands_in_the_rule_without_selectors() -> None:
    found = shop(ROUTE, USERS)
    (change,) = MESH.changes(found, ONE_API, RateLimit(25.0))
    assert isinstance(change, Change)
    at = ("spec", "rateLimit", "local", "rules", 1, "limit")
    assert change.edits == (Edit((*at, "requests"), 25), Edit((*at, "unit"), "Second"))
    bare = made(MESH, shop(ROUTE), ONE_API, RateLimit(0.5))
    rules = value_at(only_policy(bare, "api-http-governor"), ("spec", "rateLimit", "local", "rules"))
    assert rules == [{"limit": {"requests": 30, "unit": "Minute"}}]
    assert Knob.RATE_LIMIT not in MESH.settings(made(MESH, bare, ONE_API, RateLimit(None)), ONE_API)


OTHER_LIMIT = "  rateLimit: {local: {rules: [{limit: {requests: 5, unit: Second}}]}}\n"


@pytest.mark.parametrize(
    ("texts", "where", "value", "reason"),
    [
        ((USERS,), API, InFlightCap(9, 9), "leads from a Gateway of Envoy Gateway to api"),
        ((ROUTE, FOREIGN), API, InFlightCap(9, 9), "leads from a Gateway of Envoy Gateway to api"),
        ((ROUTE,), API, InFlightCap(0, 0), "a limit of 0 at its word"),
        ((ROUTE,), API, InFlightCap(None, 9), "so the high class has no cap"),
        ((ROUTE,), API, OutlierDetection(0.005, 5), "maxEjectionPercent of 0"),
        ((ROUTE,), API, OutlierDetection(0.5, 0), "cannot switch off consecutive5XxErrors"),
        ((ROUTE,), API, Timeout(1.0, 2.0), "cannot outlast its request"),
        ((ROUTE,), API, Timeout(2.0, 1.0), "would make it retry twice"),
        ((ROUTE, USERS, USERS.replace("theirs", "more")), API, RetryPolicy(1, None), "shop/more and "),
        (
            (ROUTE, USERS.replace("name: api}]", "name: api}, {kind: HTTPRoute, name: cart}]")),
            API,
            RetryPolicy(1, None),
            "is for more than HTTPRoute shop/api",
        ),
        (
            (
                ROUTE,
                USERS.replace("targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: api}]",
                              "targetSelectors: [{kind: HTTPRoute, matchLabels: {team: api}}]"),
            ),
            API,
            RetryPolicy(1, None),
            "is for more than HTTPRoute shop/api",
        ),
        (
            (SHARED_ROUTE.replace("name: api\n", "matches: [{path: {value: /a}}]\n"),),
            place("api", caller="public"),
            RetryPolicy(1, None),
            "has rules that lead elsewhere",
        ),
        ((ROUTE, USERS), place("api", backends=BACKENDS, apis=("a", "b")), RateLimit(9.0), "2 APIs enter here"),
        ((ROUTE, ABOVE + OTHER_LIMIT), ONE_API, RateLimit(9.0), "shop/all limits this route already"),
        ((ROUTE, USERS.replace("type: Local", "type: Global")), ONE_API, RateLimit(9.0), "limits globally"),
        ((ROUTE, USERS), ONE_API, RateLimit(None), "only its owner can take it out"),
        ((ROUTE, USERS.replace("- limit: {r", "- shadowMode: true\n        limit: {r")), ONE_API, RateLimit(9.0),
         "only watches"),
        ((ROUTE.replace("parentRefs:", "hostnames: [a.io, b.io]\n  parentRefs:"),), ONE_API, RateLimit(9.0),
         "has 2 combinations"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_by_name(
    texts: tuple[str, ...], where: Place, value: KnobValue, reason: str
) -> None:
    with pytest.raises(Inexpressible, match=reason):
        MESH.changes(shop(*texts), where, value)


def test_policies_that_choose_by_label_count() -> None:
    selected = USERS.replace(
        "targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: api}]",
        "targetSelectors: [{kind: HTTPRoute, matchExpressions: [{key: team, operator: In, values: [api]}]}]",
    )
    assert MESH.settings(shop(ROUTE, selected), API)[Knob.RETRIES] == RetryPolicy(4, None)
    assert Knob.RETRIES not in MESH.settings(shop(ROUTE, selected.replace("In,", "NotIn,")), API)


WITH_POLICY, WITHOUT_POLICY = shop(ROUTE, USERS), shop(ROUTE)
proxies = st.integers(1, 4)


@given(
    proxies, st.integers(1, 10_000), st.integers(1, 10_000), st.integers(0, 9), st.integers(1, 100), st.booleans()
)
def test_what_is_written_is_read_back(
    count: int, one: int, other: int, few: int, percent: int, theirs: bool
) -> None:
    found = WITH_POLICY if theirs else WITHOUT_POLICY
    where = place("api", caller="public", backends=BACKENDS, caller_proxies=count, apis=("api",), api="api")
    exact: list[tuple[Knob, KnobValue]] = [
        (Knob.RETRIES, RetryPolicy(few, percent / 100)),
        (Knob.OUTLIER_DETECTION, OutlierDetection(percent / 100, few + 1)),
        (Knob.TIMEOUT, Timeout(max(one, other) / 1000, min(one, other) / 1000 if theirs else None)),
        (Knob.IN_FLIGHT_CAP, InFlightCap(one * count, one * count)),
        (Knob.CONNECTION_LIMITS, ConnectionLimits(one * count, other * count)),
    ]
    for knob, value in exact:
        back = MESH.settings(made(MESH, found, where, value), where)[knob]
        assert value_to_json(back) == pytest.approx(value_to_json(value))
    rate = RateLimit(one / 50)
    said = MESH.settings(made(MESH, found, where, rate), where)[Knob.RATE_LIMIT]
    assert isinstance(said, RateLimit)
    assert said.requests_per_second == pytest.approx(one / 50, rel=0.021)


def test_the_file_of_capabilities_agrees() -> None:
    found = shop(ROUTE, USERS)
    kinds = {Knob.WEIGHTS: 0, Knob.TIMEOUT: 1, Knob.RETRIES: 2, Knob.IN_FLIGHT_CAP: 4}
    kinds |= {Knob.CONNECTION_LIMITS: 5, Knob.OUTLIER_DETECTION: 6, Knob.RATE_LIMIT: 7}
    file_agrees(MESH, {knob: (found, ONE_API, VALUES[at]) for knob, at in kinds.items()})


@needs_manifests
def test_policies_and_routes_of_real_users_take_every_knob_and_give_it_back() -> None:
    count = 0
    for path in shared_manifests("envoy-gateway", "gateway-api"):
        found = snapshot_of(yaml.safe_load_all(path.read_text()), MESH.kinds)
        for kind in (HTTP_ROUTE, GRPC_ROUTE):
            for ref, body in found.of(kind):
                for rule in body["spec"].get("rules") or ():
                    names = tuple(backend["name"] for backend in rule.get("backendRefs") or ())
                    if not names:
                        continue
                    weights = BackendWeights(tuple((name, 1 / len(names)) for name in names))
                    where = place(names[0], ref.namespace, caller="gateway", backends=names, apis=("one",))
                    values = (weights, Timeout(9.0, 0.5), *VALUES[1:])
                    count += gives_back_what_can_be_said(MESH, found, where, values)
    assert count > 50
