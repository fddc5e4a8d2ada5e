"""Istio with sidecars: what its objects say, what the governor makes of them, and the traps on the way."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, OwnObject
from governor.adapters.kubernetes_objects import Ref, Snapshot
from governor.adapters.meshes.istio import MESH
from governor.adapters.meshes.istio_filters import high_cap_ref
from governor.adapters.meshes.istio_objects import DESTINATION_RULE, ENVOY_FILTER, VIRTUAL_SERVICE
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_istio import violations
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
)

from .capabilities import file_agrees
from .objects import after, cluster, gives_back, made, needs_manifests, place, shared_manifests, snapshot_of

SERVICES = """
{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {selector: {app: api}, ports: [{port: 80}, {port: 90}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: ingress, namespace: edge}, spec: {selector: {app: ingress, istio: gateway}}}
---
"""  # noqa: E501
ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api]
  http:
  - name: high
    match: [{headers: {x-class: {exact: high}}}]
    retries: {attempts: 3, perTryTimeout: 1.5s, retryOn: "5xx,reset", retryRemoteLocalities: true, backoff: 25ms}
    route: [{destination: {host: api, subset: v1}}]
  - fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}}
    match: [{uri: {prefix: /slow}}]
    route: [{destination: {host: other.shop.svc.cluster.local}}]
  - timeout: 1m30s
    headers: {request: {set: {a: b}}}
    route:
    - {destination: {host: api, subset: v1}, weight: 90}
    - {destination: {host: api.shop.svc.cluster.local, subset: v2}, weight: 10, headers: {request: {remove: [x]}}}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec:
  host: api
  trafficPolicy:
    tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}
    connectionPool: {tcp: {connectTimeout: 3s}, http: {http2MaxRequests: 40}}
    outlierDetection: {consecutiveGatewayErrors: 3, interval: 5s}
    retryBudget: {percent: 25, minRetryConcurrency: 10, budgetInterval: 5s}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
HERE = place("api", backends=("v1", "v2"))
FROM_GATEWAY = place("api", caller="ingress.edge.svc.cluster.local")


def seen(*texts: str) -> Snapshot:
    return cluster(SERVICES + "\n---\n".join(texts), MESH.kinds)


def changed(text: str, **spec: Any) -> str:
    """A manifest with parts of its spec replaced, or of its metadata."""
    body = yaml.safe_load(text)
    body["metadata"] |= spec.pop("metadata", {})
    body["spec"] |= spec
    return str(yaml.safe_dump(body))


def body_of(found: Snapshot, kind: Any, name: str = "api", namespace: str = "shop") -> Any:
    return found.objects[Ref(kind, namespace, name)]["spec"]


def refused(found: Snapshot, value: KnobValue, where: Place = HERE) -> str:
    with pytest.raises(Inexpressible) as error:
        MESH.changes(found, where, value)
    return str(error.value)


counts = st.integers(1, 100_000)
maybe = st.none() | counts
seconds = st.integers(1, 600_000).map(lambda ms: ms / 1000)
percents = st.integers(1, 100).map(lambda percent: percent / 100)
VALUES = st.one_of(
    st.builds(InFlightCap, maybe, maybe),
    st.builds(ConnectionLimits, maybe, maybe),
    st.builds(OutlierDetection, st.none() | percents, maybe),
    st.builds(RetryPolicy, st.integers(0, 10), st.none() | percents),
    st.tuples(seconds, seconds).map(lambda pair: Timeout(max(pair), min(pair))),
    st.integers(1, 99).map(lambda n: BackendWeights((("v1", n / 100), ("v2", (100 - n) / 100)))),
    st.floats(0.01, 1e6).map(RateLimit),
)


def approximately(value: KnobValue, said: KnobValue | None, proxies: int) -> bool:
    """Equal within what whole numbers per proxy and token buckets can say."""
    if said is None:
        return all(part is None for part in vars(value).values())
    if isinstance(value, RateLimit):
        assert isinstance(said, RateLimit)
        return said.requests_per_second == pytest.approx(value.requests_per_second, rel=0.021)
    if isinstance(value, (InFlightCap, ConnectionLimits)):
        pairs = list(zip(vars(value).values(), vars(said).values(), strict=True))
        if isinstance(value, InFlightCap) and value.high is not None:
            # Its parts are rounded, and leave room for bursts of their own.
            high = pairs.pop()
            assert high[0] == pytest.approx(high[1], abs=2 * proxies)
        # 90 of 100 requests go through one of the two clusters of a proxy: 1 / 0.9 count by themselves.
        most = proxies / 0.9 + 0.5
        return all(a == b or (a is not None and b is not None and a <= b < a + most) for a, b in pairs)
    if isinstance(value, BackendWeights):
        assert isinstance(said, BackendWeights)
        return dict(said.shares) == pytest.approx(dict(value.shares))
    return said == value


@given(VALUES, st.integers(1, 7), st.sampled_from([(), (ROUTES,), (RULE,), (ROUTES, RULE)]))
def test_what_is_written_is_read_back_and_the_webhook_would_take_it(
    value: KnobValue, proxies: int, texts: tuple[str, ...]
) -> None:
    where = place("api", backends=("v1", "v2"), caller_proxies=proxies, callee_proxies=1, api="a", apis=("a",))
    before = seen(*texts)
    try:
        changes = MESH.changes(before, where, value)
    except Inexpressible:
        split = isinstance(value, BackendWeights) and ROUTES not in texts
        classed = isinstance(value, InFlightCap) and value.high is not None and ROUTES not in texts
        assert split or classed
        return
    gives_back(before, [c for c in changes if isinstance(c, Change) and c.ref in before.objects])
    now = after(before, changes)
    assert [fault for ref, body in now.objects.items() for fault in violations(ref.kind, body)] == []
    knob = next(knob for knob, kind in VALUE_TYPES.items() if isinstance(value, kind))
    assert approximately(value, MESH.settings(now, where).get(knob), proxies)


def test_what_the_user_wrote_is_read() -> None:
    where = place("api", caller_proxies=3)
    assert MESH.settings(seen(ROUTES, RULE), where) == {
        Knob.TIMEOUT: Timeout(90.0, None),
        Knob.WEIGHTS: BackendWeights((("v1", 0.9), ("v2", 0.1))),
        Knob.RETRIES: RetryPolicy(None, 0.25),
        Knob.IN_FLIGHT_CAP: InFlightCap(133, None),  # 40 in each of 3 proxies, 0.9 of it through one cluster
        Knob.OUTLIER_DETECTION: OutlierDetection(None, None),
    }


def test_every_route_of_the_host_is_set_and_no_other() -> None:
    http = body_of(made(MESH, seen(ROUTES), HERE, Timeout(2.0, 0.5)), VIRTUAL_SERVICE)["http"]
    assert [entry.get("timeout") for entry in http] == ["2000ms", None, "2000ms"]
    assert http[0]["retries"]["perTryTimeout"] == "500ms"
    assert http[0]["retries"]["attempts"] == 3
    assert http[2]["retries"] == {"attempts": 2, "perTryTimeout": "500ms"}  # Istio's default, named
    assert "retries" not in http[1]


def test_no_retries_takes_away_what_may_not_stand_beside_it() -> None:
    http = body_of(made(MESH, seen(ROUTES), HERE, RetryPolicy(0, None)), VIRTUAL_SERVICE)["http"]
    assert http[0]["retries"] == {"attempts": 0, "backoff": "25ms"}
    assert http[2]["retries"] == {"attempts": 0}


def test_retries_that_are_not_set_leave_no_stanza_which_would_mean_none() -> None:
    http = body_of(made(MESH, seen(ROUTES), HERE, RetryPolicy(None, None)), VIRTUAL_SERVICE)["http"]
    assert all("retries" not in entry for entry in http)


def test_a_timeout_of_a_try_has_no_place_where_there_are_no_retries() -> None:
    none = made(MESH, seen(ROUTES), HERE, RetryPolicy(0, None))
    both = made(MESH, none, HERE, Timeout(2.0, 0.5))
    assert body_of(both, VIRTUAL_SERVICE)["http"][2]["timeout"] == "2000ms"
    assert "perTryTimeout" not in body_of(both, VIRTUAL_SERVICE)["http"][2]["retries"]
    assert "no retries" in refused(none, Timeout(None, 0.5))
    assert "cannot outlast" in refused(none, Timeout(0.5, 2.0))


def test_a_cap_counts_in_each_proxy_and_is_rounded_up() -> None:
    where = place("api", caller_proxies=3)
    policy = body_of(made(MESH, seen(RULE), where, InFlightCap(100, None)), DESTINATION_RULE)["trafficPolicy"]
    assert policy["connectionPool"]["http"]["http2MaxRequests"] == 34
    assert policy["tls"] == {"mode": "MUTUAL", "clientCertificate": "/c", "privateKey": "/k"}
    assert "no limit" in refused(seen(RULE), InFlightCap(0, None))
    assert "no limit" in refused(seen(RULE), ConnectionLimits(None, 0))


def test_ejecting_nobody_switches_every_detector_off() -> None:
    text = RULE.replace("interval: 5s}", "interval: 5s, splitExternalLocalOriginErrors: true}", 1)
    now = made(MESH, seen(text), HERE, OutlierDetection(0.0, 5))
    found = body_of(now, DESTINATION_RULE)["trafficPolicy"]["outlierDetection"]
    off = {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 0, "consecutiveLocalOriginFailures": 0}
    assert found == {**off, "interval": "5s", "splitExternalLocalOriginErrors": True}
    assert MESH.settings(now, HERE)[Knob.OUTLIER_DETECTION] == OutlierDetection(0.0, None)


def test_a_budget_keeps_the_floor_that_is_there() -> None:
    budget = body_of(made(MESH, seen(RULE), HERE, RetryPolicy(None, 0.1)), DESTINATION_RULE)["trafficPolicy"]
    assert budget["retryBudget"] == {"percent": 10.0, "minRetryConcurrency": 10, "budgetInterval": "5s"}
    own = made(MESH, seen(), HERE, RetryPolicy(None, 0.1))
    policy = body_of(own, DESTINATION_RULE, "api-governor")["trafficPolicy"]
    assert policy["retryBudget"] == {"percent": 10.0, "minRetryConcurrency": 3}


def test_weights_are_those_of_the_routes_that_split() -> None:
    now = made(MESH, seen(ROUTES), HERE, BackendWeights((("v1", 1 / 3), ("v2", 2 / 3))))
    http = body_of(now, VIRTUAL_SERVICE)["http"]
    assert [route.get("weight") for route in http[2]["route"]] == [33, 67]
    assert "weight" not in http[0]["route"][0]
    assert http[2]["route"][1]["headers"] == {"request": {"remove": ["x"]}}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (BackendWeights((("v1", 0.5), ("v3", 0.5))), "no destination v3"),
        (BackendWeights((("v1", 1.0),)), "v2 gets traffic"),
        (BackendWeights((("v1", 0.0), ("v2", 0.0))), "all be zero"),
        (BackendWeights(()), "all be zero"),
    ],
)
def test_weights_that_no_route_can_say(value: KnobValue, why: str) -> None:
    assert why in refused(seen(ROUTES), value)


def test_a_destination_that_is_named_twice_has_no_share() -> None:
    text = ROUTES.replace("subset: v2}", "subset: v1, port: {number: 90}}")
    assert "v1 more than once" in refused(seen(text), BackendWeights((("v1", 1.0),)))


def test_two_objects_of_one_host_are_both_named() -> None:
    twice = (ROUTES, changed(ROUTES, metadata={"name": "again"}), RULE, changed(RULE, metadata={"name": "again"}))
    assert "VirtualService shop/again, VirtualService shop/api" in refused(seen(*twice), Timeout(1.0, None))
    assert "DestinationRule shop/again, DestinationRule shop/api" in refused(seen(*twice), InFlightCap(1, None))
    assert MESH.settings(seen(*twice), HERE) == {}


def test_short_names_are_those_of_the_objects_own_namespace() -> None:
    elsewhere = changed(RULE, metadata={"namespace": "other"})
    (own, _) = MESH.changes(seen(elsewhere), HERE, InFlightCap(5, None))
    assert isinstance(own, OwnObject)
    assert own.ref == Ref(DESTINATION_RULE, "shop", "api-governor")


@pytest.mark.parametrize("host", ["*", "*.shop.svc.cluster.local", "*.local"])
def test_a_wildcards_settings_are_not_covered_up(host: str) -> None:
    assert f"of {host} covers" in refused(seen(changed(RULE, host=host)), InFlightCap(5, None))
    assert f"of {host} covers" in refused(
        seen(changed(ROUTES, hosts=[host], http=[{"redirect": {"uri": "/"}}])), Timeout(1.0, None)
    )


def test_a_host_whose_requests_go_elsewhere_gets_no_second_virtual_service() -> None:
    text = changed(ROUTES, http=[{"route": [{"destination": {"host": "other"}}]}])
    assert "VirtualService shop/api takes the requests" in refused(seen(text), Timeout(1.0, None))


@pytest.mark.parametrize(
    ("part", "who"),
    [
        (
            {"subsets": [{"name": "v1", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}}]},
            "v1",
        ),
        ({"subsets": [{"name": "v1", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}}]}}]}, "v1"),
        ({"trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "tls": {}}]}}, "port 80"),
    ],
)
def test_a_policy_that_replaces_the_top_levels_is_named(part: dict[str, Any], who: str) -> None:
    found = seen(changed(RULE, **part))
    assert f"{who} of DestinationRule shop/api has a policy of its own" in refused(found, InFlightCap(5, None))


def test_a_subset_with_another_block_does_not_matter() -> None:
    subset = {"name": "v1", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}
    assert MESH.changes(seen(changed(RULE, subsets=[subset])), HERE, InFlightCap(5, None))


def test_a_rule_for_the_caller_alone_comes_first() -> None:
    alone = changed(RULE, metadata={"name": "web"}, workloadSelector={"matchLabels": {"app": "web"}})
    other = changed(RULE, metadata={"name": "other"}, workloadSelector={"matchLabels": {"app": "other"}})
    assert "DestinationRule shop/web is for" in refused(seen(RULE, alone), InFlightCap(5, None))
    (change,) = MESH.changes(seen(RULE, other), HERE, InFlightCap(5, None))
    assert change.ref.name == "api"


GATEWAY = """
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: public, namespace: edge}, spec: {selector: {istio: gateway}}}
"""  # noqa: E501
PUBLIC = changed(ROUTES, metadata={"name": "public"}, hosts=["shop.example"], gateways=["edge/public"])


def test_a_gateway_has_virtual_services_of_its_own() -> None:
    found = seen(ROUTES, PUBLIC, GATEWAY)
    for where, name in ((HERE, "api"), (FROM_GATEWAY, "public"), (place("api", caller="ingress.edge"), "public")):
        (change,) = MESH.changes(found, where, Timeout(1.0, None))
        assert change.ref.name == name
    assert "is a gateway is not" not in refused(found, InFlightCap(None, 5), FROM_GATEWAY)
    assert "is a gateway" in refused(found, InFlightCap(None, 5), FROM_GATEWAY)
    assert "whether job.batch is a gateway is not known" in refused(
        found, Timeout(1.0, None), place("api", caller="job.batch")
    )
    assert "write its route first" in refused(seen(ROUTES, GATEWAY), Timeout(1.0, None), FROM_GATEWAY)


def test_a_delegates_routes_are_where_the_host_is_led_to() -> None:
    root = changed(PUBLIC, http=[{"delegate": {"name": "api", "namespace": "shop"}}])
    spec = yaml.safe_load(ROUTES)["spec"]
    delegate = changed(ROUTES, http=spec["http"])
    body = yaml.safe_load(delegate)
    del body["spec"]["hosts"]
    found = seen(root, str(yaml.safe_dump(body)), GATEWAY)
    (change,) = MESH.changes(found, FROM_GATEWAY, Timeout(1.0, None))
    assert change.ref.name == "api"
    # Inside the mesh nothing delegates to it: there the governor's own VirtualService is the only one.
    own, _ = MESH.changes(found, HERE, Timeout(1.0, None))
    assert own.ref.name == "api-governor"


def test_routes_that_lead_to_several_hosts_are_left_alone() -> None:
    both = [{"route": [{"destination": {"host": h}, "weight": 50} for h in ("api", "other")]}]
    assert "leads to other hosts as well" in refused(seen(changed(ROUTES, http=both)), Timeout(1.0, None))


def test_the_high_cap_is_for_the_callers_proxies_and_this_hosts_routes() -> None:
    where = place("api", caller_proxies=2)
    now = made(MESH, seen(ROUTES, RULE), where, InFlightCap(40, 61))
    spec = body_of(now, ENVOY_FILTER, "web.api.shop.governor-high")
    assert spec["workloadSelector"] == {"labels": {"app": "web"}}
    first, *routes = spec["configPatches"]
    (threshold,) = first["patch"]["value"]["circuit_breakers"]["thresholds"]
    assert (threshold["priority"], threshold["max_requests"]) == (
        "HIGH",
        28,
    )  # 61 over two proxies whose requests go 90 to 10 to two clusters
    assert [p["match"]["routeConfiguration"]["vhost"]["name"] for p in routes] == [
        "api.shop.svc.cluster.local:80",
        "api.shop.svc.cluster.local:90",
    ]
    assert MESH.settings(now, where)[Knob.IN_FLIGHT_CAP] == InFlightCap(40, 60)
    plain = ROUTES.replace("name: high", "name: fast")
    assert "is called `high`" in refused(seen(plain), InFlightCap(None, 5))
    gone = MESH.changes(now, where, InFlightCap(None, None))
    assert OwnObject(Ref(ENVOY_FILTER, "shop", "web.api.shop.governor-high"), None) in gone


def test_no_two_edges_share_one_high_cap() -> None:
    edges = [("a", "b-c", "shop"), ("a-b", "c", "shop"), ("a", "b", "c"), ("a", "b", "shop")]
    places = [place(name, namespace, caller=f"{caller}.shop") for caller, name, namespace in edges]
    assert len({high_cap_ref(where) for where in places}) == len(edges)


def test_ports_are_those_of_a_service_entry_where_there_is_no_service() -> None:
    entry = """
    {apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: api, namespace: shop},
     spec: {hosts: [api.shop.svc.cluster.local], ports: [{number: 8080, name: http, protocol: HTTP}]}}
    """
    where = place("api", caller="ingress.shop")
    now = made(MESH, cluster(f"{entry}\n---\n{ROUTES}", MESH.kinds), where, InFlightCap(None, 5))
    spec = body_of(now, ENVOY_FILTER, "ingress.api.shop.governor-high")
    vhost = spec["configPatches"][1]["match"]["routeConfiguration"]["vhost"]
    assert vhost == {"name": "api.shop.svc.cluster.local:8080", "route": {"name": "high"}}
    # Nobody else of the namespace calls this service, or the cap would not be asked for.
    assert "workloadSelector" not in spec


def test_a_rate_limit_names_the_callees_pods_and_goes_again() -> None:
    where = place("api", callee_proxies=4, api="a", apis=("a",))
    now = made(MESH, seen(), where, RateLimit(100.0))
    spec = body_of(now, ENVOY_FILTER, "api-governor-limit")
    assert spec["workloadSelector"] == {"labels": {"app": "api"}}
    bucket = spec["configPatches"][0]["patch"]["value"]["typed_config"]["value"]["token_bucket"]
    assert bucket == {"max_tokens": 25, "tokens_per_fill": 25, "fill_interval": "1s"}
    (gone,) = MESH.changes(now, where, RateLimit(None))
    assert gone == OwnObject(Ref(ENVOY_FILTER, "shop", "api-governor-limit"), None)
    assert MESH.changes(seen(), where, RateLimit(None)) == []
    assert "2 APIs enter here" in refused(seen(), RateLimit(5.0), place("api", apis=("a", "b")))
    assert "has no selector" in refused(seen(), RateLimit(5.0), place("database"))


def test_a_rate_limit_of_the_user_stays_alone() -> None:
    patch = {"applyTo": "HTTP_FILTER", "patch": {"value": {"name": "envoy.filters.http.local_ratelimit"}}}
    theirs = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "theirs", "namespace": "shop"},
        "spec": {"workloadSelector": {"labels": {"app": "api"}}, "configPatches": [patch]},
    }
    assert "EnvoyFilter shop/theirs limits the rate" in refused(seen(yaml.safe_dump(theirs)), RateLimit(5.0))
    theirs["spec"]["workloadSelector"] = {"labels": {"app": "web"}}  # type: ignore[index]
    assert MESH.changes(seen(yaml.safe_dump(theirs)), HERE, RateLimit(5.0))


def test_taking_away_what_is_not_there_changes_nothing() -> None:
    for value in (Timeout(None, None), RetryPolicy(None, None), InFlightCap(None, None), RateLimit(None)):
        assert list(MESH.changes(seen(), HERE, value)) == []


@pytest.mark.parametrize(
    ("kind", "spec", "what"),
    [
        (VIRTUAL_SERVICE, {"http": [{"route": [{"weight": 0}, {}]}]}, "total destination weight = 0"),
        (VIRTUAL_SERVICE, {"http": [{"route": [{"weight": -1}, {"weight": 2}]}]}, "negative"),
        (VIRTUAL_SERVICE, {"http": [{"retries": {"perTryTimeout": "1s"}}]}, "beside attempts: 0"),
        (VIRTUAL_SERVICE, {"http": [{"retries": {"attempts": -1}}]}, "cannot be negative"),
        (VIRTUAL_SERVICE, {"http": [{"retries": {"attempts": 1, "retryOn": "5xx, reset"}}]}, "' reset'"),
        (VIRTUAL_SERVICE, {"http": [{"timeout": "0s"}]}, "millisecond"),
        (VIRTUAL_SERVICE, {"http": [{"timeout": "1.0005s"}]}, "millisecond"),
        (DESTINATION_RULE, {"trafficPolicy": {}}, "at least one field"),
        (DESTINATION_RULE, {"trafficPolicy": {"connectionPool": {}}}, "at least one field"),
        (
            DESTINATION_RULE,
            {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": -1}}}},
            "non-negative",
        ),
        (DESTINATION_RULE, {"trafficPolicy": {"outlierDetection": {"maxEjectionPercent": 101}}}, "0..100"),
        (DESTINATION_RULE, {"trafficPolicy": {"retryBudget": {"percent": 120}}}, "0..100"),
        (DESTINATION_RULE, {"subsets": [{"name": "a"}, {"name": "a"}]}, "duplicate"),
    ],
)
def test_what_the_webhook_refuses_is_found_without_it(kind: Any, spec: dict[str, Any], what: str) -> None:
    assert what in " ".join(violations(kind, {"spec": spec}))


def test_the_users_manifests_have_no_violations() -> None:
    for text, kind in ((ROUTES, VIRTUAL_SERVICE), (RULE, DESTINATION_RULE)):
        assert violations(kind, yaml.safe_load(text)) == []


def test_the_file_of_capabilities_agrees() -> None:
    found = seen(ROUTES, RULE)
    file_agrees(
        MESH,
        {
            Knob.WEIGHTS: (found, HERE, BackendWeights((("v1", 0.5), ("v2", 0.5)))),
            Knob.RETRIES: (found, HERE, RetryPolicy(1, 0.2)),
            Knob.TIMEOUT: (found, HERE, Timeout(2.0, 1.0)),
            Knob.OUTLIER_DETECTION: (found, HERE, OutlierDetection(0.3, 5)),
            Knob.CONNECTION_LIMITS: (found, HERE, ConnectionLimits(100, 50)),
            Knob.IN_FLIGHT_CAP: (found, HERE, InFlightCap(100, 120)),
            Knob.RATE_LIMIT: (found, HERE, RateLimit(100.0)),
        },
    )


@needs_manifests
@pytest.mark.parametrize("path", shared_manifests("istio"), ids=lambda path: path.stem)
def test_real_manifests_change_in_the_named_leaves_only(path: Any) -> None:
    found = snapshot_of(yaml.safe_load_all(path.read_text()), MESH.kinds)
    for ref, body in found.objects.items():
        for where in hosts_of(ref, body):
            for value in (Timeout(2.0, 0.5), RetryPolicy(1, 0.2), InFlightCap(9, None), OutlierDetection(0.3, 5)):
                try:
                    changes = MESH.changes(found, where, value)
                except Inexpressible:
                    continue
                gives_back(found, [c for c in changes if isinstance(c, Change) and c.ref in found.objects])
                now = after(found, changes)
                known = [f for r, b in found.objects.items() for f in violations(r.kind, b)]
                assert [f for r, b in now.objects.items() for f in violations(r.kind, b) if f not in known] == []


def hosts_of(ref: Ref, body: Any) -> list[Place]:
    spec = body["spec"]
    entries = [route for entry in spec.get("http") or () for route in entry.get("route") or ()]
    names = {spec.get("host"), *(route["destination"]["host"] for route in entries)} - {None}
    return [
        place(str(name).split(".")[0], ref.namespace, caller=f"web.{ref.namespace}") for name in sorted(names)
    ]


def test_a_cap_counts_in_the_cluster_of_each_subset() -> None:
    even = ROUTES.replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50")
    now = made(MESH, seen(even, RULE), HERE, InFlightCap(30, None))
    policy = body_of(now, DESTINATION_RULE)["trafficPolicy"]
    assert policy["connectionPool"]["http"]["http2MaxRequests"] == 15
    assert MESH.settings(now, HERE)[Knob.IN_FLIGHT_CAP] == InFlightCap(30, None)
