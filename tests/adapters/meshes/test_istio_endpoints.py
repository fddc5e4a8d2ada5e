"""Weights of a ServiceEntry's endpoints: read, written, and refused where they would be no shares."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change
from governor.adapters.kubernetes_objects import Ref, Snapshot
from governor.adapters.meshes.istio import MESH
from governor.adapters.meshes.istio_callers import SERVICE_ENTRY
from governor.adapters.meshes.istio_objects import concerns
from governor.knobs import BackendWeights, Knob, Timeout

from .objects import after, cluster, gives_back, made, place

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.shop.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: web, targetPort: 9081, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, ports: {http: 8080}, weight: 30, labels: {app: api}}
  - {address: 10.0.0.2, ports: {http: 8080}, weight: 10}
  - {address: "fd00::3"}
"""
BACKENDS = ("10.0.0.1:8080", "10.0.0.2:8080", "[fd00::3]:80")
HERE = place("api", backends=BACKENDS)
EVEN = BackendWeights(tuple((name, 1 / 3) for name in BACKENDS))


def seen(*texts: str) -> Snapshot:
    return cluster("\n---\n".join(texts), MESH.kinds)


def entry(**spec: Any) -> str:
    """The entry with parts of its spec replaced."""
    body = yaml.safe_load(ENTRY)
    return str(yaml.safe_dump(body | {"spec": body["spec"] | spec}))


def endpoints_of(found: Snapshot) -> Any:
    return found.objects[Ref(SERVICE_ENTRY, "shop", "api")]["spec"]["endpoints"]


def refused(*texts: str, value: BackendWeights = EVEN) -> str:
    with pytest.raises(Inexpressible) as error:
        MESH.changes(seen(*texts), HERE, value)
    return str(error.value)


def route(*destinations: str) -> str:
    listed = ", ".join(f"{{destination: {{host: api, {to}}}, weight: 50}}" for to in destinations)
    return (
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: api, namespace: shop}, "
        f"spec: {{hosts: [api], http: [{{route: [{listed}]}}]}}}}"
    )


def test_a_weight_that_is_not_set_is_one() -> None:
    said = MESH.settings(seen(ENTRY), HERE)[Knob.WEIGHTS]
    assert isinstance(said, BackendWeights)
    assert dict(said.shares) == pytest.approx(dict(zip(BACKENDS, (30 / 41, 10 / 41, 1 / 41), strict=True)))


def test_an_endpoint_goes_by_its_address_at_any_of_the_hosts_ports() -> None:
    where = place("api", backends=("10.0.0.1:9081", "10.0.0.2:9081", "[fd00::3]:9081"))
    said = MESH.settings(seen(ENTRY), where)[Knob.WEIGHTS]
    assert isinstance(said, BackendWeights)
    assert tuple(name for name, _ in said.shares) == where.backends


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda shares: sum(shares) > 0.01))
def test_what_is_written_is_read_back_and_given_back(shares: list[float]) -> None:
    total = sum(shares)
    value = BackendWeights(tuple((name, s / total) for name, s in zip(BACKENDS, shares, strict=True)))
    before = seen(ENTRY)
    changes = MESH.changes(before, HERE, value)
    gives_back(before, [change for change in changes if isinstance(change, Change)])
    now = after(before, changes)
    assert all(endpoint["weight"] >= 1 for endpoint in endpoints_of(now))
    said = MESH.settings(now, HERE)[Knob.WEIGHTS]
    assert isinstance(said, BackendWeights)
    assert dict(said.shares) == pytest.approx(dict(value.shares), abs=3e-4)


def test_nothing_but_the_weights_differs() -> None:
    now = endpoints_of(made(MESH, seen(ENTRY), HERE, EVEN))
    assert now == [{**endpoint, "weight": 3333} for endpoint in yaml.safe_load(ENTRY)["spec"]["endpoints"]]


def test_a_route_that_does_not_split_leaves_it_to_the_endpoints_and_one_that_does_has_the_weights() -> None:
    (change,) = MESH.changes(seen(ENTRY, route("port: {number: 80}")), HERE, EVEN)
    assert change.ref.kind == SERVICE_ENTRY
    split = seen(ENTRY, route("subset: a", "subset: b"))
    where = place("api", backends=("a", "b"))
    (change,) = MESH.changes(split, where, BackendWeights((("a", 0.2), ("b", 0.8))))
    assert change.ref.kind.kind == "VirtualService"
    assert MESH.settings(split, where)[Knob.WEIGHTS] == BackendWeights((("a", 0.5), ("b", 0.5)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (entry(resolution="DNS"), "ServiceEntry shop/api finds its endpoints by DNS"),
        (
            entry(endpoints=[{"address": "10.0.0.1", "locality": "eu/a"}, {"address": "10.0.0.2"}]),
            "more than one locality",
        ),
        (
            entry(endpoints=[{"address": "10.0.0.1", "network": "n"}, {"address": "10.0.0.2"}]),
            "more than one network",
        ),
        (entry(endpoints=[{"address": "10.0.0.1"}]), "no VirtualService leads to"),
        (entry(endpoints=[], workloadSelector={"labels": {"app": "api"}}), "no VirtualService leads to"),
        (
            entry(endpoints=[{"address": f"10.0.0.{n}", "ports": {"http": 8080}} for n in (1, 2, 9)]),
            "no destination [fd00::3]:80",
        ),
    ],
)  # fmt: skip
def test_weights_that_would_be_no_shares(text: str, why: str) -> None:
    assert why in refused(text)


def test_an_endpoint_that_was_not_seen_is_named() -> None:
    two = BackendWeights((("10.0.0.1:8080", 0.5), ("10.0.0.2:8080", 0.5)))
    assert "[fd00::3]:80 gets traffic" in refused(ENTRY, value=two)


def test_two_entries_of_one_host_are_both_named() -> None:
    assert "ServiceEntry shop/again, ServiceEntry shop/api" in refused(
        ENTRY, ENTRY.replace("name: api,", "name: again,")
    )
    timeout = route("port: {number: 80}").replace("http: [{", "http: [{timeout: 2s, ")
    said = MESH.settings(seen(ENTRY, ENTRY.replace("name: api,", "name: again,"), timeout), HERE)
    assert said == {Knob.TIMEOUT: Timeout(2.0, None)}


@pytest.mark.parametrize("balancer", ["RANDOM", "PASSTHROUGH"])
def test_a_balancer_that_knows_no_weights_is_named(balancer: str) -> None:
    rule = (
        "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: api, namespace: shop}, "
        f"spec: {{host: api, trafficPolicy: {{loadBalancer: {{simple: {balancer}}}}}}}}}"
    )
    assert f"is {balancer}, which knows no weights" in refused(ENTRY, rule)


def test_a_service_with_pods_has_no_endpoints_of_an_entry() -> None:
    service = (
        "{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {ports: [{port: 80}]}}"
    )
    assert "no VirtualService leads to" in refused(ENTRY, service)
    assert Knob.WEIGHTS not in MESH.settings(seen(ENTRY, service), HERE)


def test_an_entry_concerns_its_hosts_or_with_a_wildcard_all() -> None:
    for hosts, whom in (
        (["api.shop.svc.cluster.local", "elsewhere.example.com"], {("api", "shop")}),
        (["*.example.com"], None),
    ):
        ((ref, body),) = seen(entry(hosts=hosts)).objects.items()
        assert concerns(ref, body) == whom
