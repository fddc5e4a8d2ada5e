"""Cilium: a CiliumEnvoyConfig of the governor's own, written, read back, refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, OwnObject
from governor.adapters.kubernetes_objects import ENDPOINT_SLICE, Ref, Snapshot
from governor.adapters.meshes.cilium import MESH
from governor.adapters.meshes.cilium_envoy_config import ENVOY_CONFIG, UNLIMITED
from governor.knobs import (
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
from .manifests import CILIUM_ROUTE
from .manifests import CILIUM_SERVICE as SERVICE
from .manifests import CILIUM_SLICE as SLICE
from .objects import cluster, gives_back, made, place

THEIRS = """
apiVersion: cilium.io/v2
kind: CiliumEnvoyConfig
metadata: {name: their-own, namespace: shop}
spec: {services: [{name: books}], resources: []}
"""
ROUTE = CILIUM_ROUTE + "    timeouts: {request: 10s}\n"
BOOKS = place("books")
SPLIT = place("books", backends=("books-v1", "books-v2"))
CONFIG = Ref(ENVOY_CONFIG, "shop", "books-governor")
WHOLE = st.integers(1, 10**6)


def shop(*texts: str) -> Snapshot:
    return cluster("\n---\n".join(texts), (*MESH.kinds, ENDPOINT_SLICE))


SHOP = shop(SERVICE, SLICE)


def resources(snapshot: Snapshot) -> Any:
    return snapshot.objects[CONFIG]["spec"]["resources"]


def test_nothing_is_said_where_there_is_no_config_of_the_governors() -> None:
    assert MESH.settings(SHOP, BOOKS) == {}
    assert MESH.settings(shop(SERVICE, THEIRS.replace("their-own", "books-governor")), BOOKS) == {}


def test_what_is_not_asked_for_is_neutral_in_a_new_config() -> None:
    new, leaves = MESH.changes(SHOP, BOOKS, InFlightCap(101, None))
    assert isinstance(new, OwnObject)
    assert isinstance(leaves, Change)
    assert new.ref == leaves.ref == CONFIG
    _, route, backend = resources(made(MESH, SHOP, BOOKS, InFlightCap(101, None)))
    assert backend["circuit_breakers"] == {
        "thresholds": [
            {
                "priority": "DEFAULT",
                "max_connections": UNLIMITED,
                "max_pending_requests": UNLIMITED,
                "max_requests": 51,
                "max_retries": UNLIMITED,
            }
        ]
    }
    assert "outlier_detection" not in backend
    assert route["virtual_hosts"][0]["routes"] == [
        {"match": {"prefix": "/"}, "route": {"cluster": "shop/books", "timeout": "0s"}}
    ]


def test_knobs_share_one_config_and_leave_each_other_alone() -> None:
    one = made(MESH, SHOP, BOOKS, InFlightCap(100, None))
    two = made(MESH, one, BOOKS, RetryPolicy(2, 0.2))
    three = made(MESH, two, BOOKS, OutlierDetection(0.3, 5))
    four = made(MESH, three, BOOKS, ConnectionLimits(200, 40))
    assert MESH.settings(four, BOOKS) == {
        Knob.IN_FLIGHT_CAP: InFlightCap(100, None),
        Knob.RETRIES: RetryPolicy(2, 0.2),
        Knob.OUTLIER_DETECTION: OutlierDetection(0.3, 5),
        Knob.CONNECTION_LIMITS: ConnectionLimits(200, 40),
    }
    (change,) = MESH.changes(four, BOOKS, RetryPolicy(None, None))
    assert isinstance(change, Change)
    without = made(MESH, four, BOOKS, RetryPolicy(None, None))
    assert MESH.settings(without, BOOKS).keys() == MESH.settings(four, BOOKS).keys() - {Knob.RETRIES}
    assert (
        resources(without)[1:]
        == resources(
            made(MESH, made(MESH, one, BOOKS, OutlierDetection(0.3, 5)), BOOKS, ConnectionLimits(200, 40))
        )[1:]
    )


VALUES = st.one_of(
    st.builds(InFlightCap, WHOLE, st.none()),
    st.builds(ConnectionLimits, WHOLE, st.none() | WHOLE),
    st.builds(RetryPolicy, st.integers(0, 9), st.none() | st.integers(0, 100).map(lambda n: n / 100)),
    st.builds(OutlierDetection, st.integers(0, 100).map(lambda n: n / 100), st.none() | WHOLE),
)


@given(VALUES)
def test_what_is_written_is_read_back(value: KnobValue) -> None:
    (said,) = MESH.settings(made(MESH, SHOP, BOOKS, value), BOOKS).values()
    if isinstance(value, InFlightCap | ConnectionLimits):
        # Each of two nodes gets a whole number, rounded up.
        for name in vars(value):
            mine, theirs = getattr(value, name), getattr(said, name)
            assert theirs == (None if mine is None else 2 * -(-mine // 2))
    else:
        assert vars(said) == pytest.approx(vars(value))


def test_nothing_is_made_to_take_away_what_is_not_there() -> None:
    for value in (RetryPolicy(None, None), OutlierDetection(None, None), InFlightCap(None, None)):
        assert list(MESH.changes(SHOP, BOOKS, value)) == []


def test_a_budget_of_nothing_lets_no_retry_pass() -> None:
    now = made(MESH, SHOP, BOOKS, RetryPolicy(None, 0.0))
    (limits,) = resources(now)[2]["circuit_breakers"]["thresholds"]
    assert limits["retry_budget"] == {"budget_percent": {"value": 0.0}, "min_retry_concurrency": 0}


def test_a_producers_route_is_read_and_written() -> None:
    found = shop(SERVICE, SLICE, ROUTE)
    assert MESH.settings(found, SPLIT) == {
        Knob.WEIGHTS: BackendWeights((("books-v1", 0.75), ("books-v2", 0.25))),
        Knob.TIMEOUT: Timeout(10.0, None),
        Knob.RETRIES: RetryPolicy(2, None),
    }
    for value in (
        BackendWeights((("books-v1", 0.1), ("books-v2", 0.9))),
        Timeout(2.5, 1.0),
        RetryPolicy(1, None),
    ):
        gives_back(found, MESH.changes(found, SPLIT, value))
        assert value in MESH.settings(made(MESH, found, SPLIT, value), SPLIT).values()


def test_a_route_that_only_redirects_carries_nothing() -> None:
    body = yaml.safe_load(ROUTE)
    body["spec"]["rules"] = [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 303}}]}]
    found = shop(SERVICE, yaml.safe_dump(body))
    assert MESH.settings(found, SPLIT) == {}
    with pytest.raises(Inexpressible, match="leads to books"):
        MESH.changes(found, SPLIT, Timeout(2.0, None))


def test_a_consumers_route_does_not_hold_in_cilium() -> None:
    theirs = ROUTE.replace("namespace: shop", "namespace: front").replace(
        "name: books, port", "name: books, namespace: shop, port"
    )
    outside = place("books", caller="web.front.svc.cluster.local")
    assert MESH.settings(shop(SERVICE, theirs), outside) == {}
    assert Knob.TIMEOUT in MESH.settings(shop(SERVICE, theirs, ROUTE), outside)


def test_the_file_of_capabilities_agrees() -> None:
    found = shop(SERVICE, SLICE, ROUTE)
    file_agrees(
        MESH,
        {
            Knob.WEIGHTS: (found, SPLIT, BackendWeights((("books-v1", 0.1), ("books-v2", 0.9)))),
            Knob.TIMEOUT: (found, SPLIT, Timeout(2.0, None)),
            Knob.RETRIES: (SHOP, BOOKS, RetryPolicy(2, 0.2)),
            Knob.OUTLIER_DETECTION: (SHOP, BOOKS, OutlierDetection(0.3, 5)),
            Knob.IN_FLIGHT_CAP: (SHOP, BOOKS, InFlightCap(100, None)),
            Knob.CONNECTION_LIMITS: (SHOP, BOOKS, ConnectionLimits(100, 50)),
        },
    )


@pytest.mark.parametrize(
    ("objects", "value", "reason"),
    [
        ([SLICE], RetryPolicy(2, None), "Service shop/books is not there"),
        ([SERVICE.replace("all", "weights"), SLICE], RetryPolicy(2, None), "may-edit: retries to let"),
        (
            [SERVICE.replace("http-web", "postgres"), SLICE],
            RetryPolicy(2, None),
            "would go through Envoy as HTTP",
        ),
        ([SERVICE.replace("}]", "}, {name: grpc, port: 81}]"), SLICE], RetryPolicy(2, None), "it must have one"),
        ([SERVICE, SLICE, THEIRS], RetryPolicy(2, None), "CiliumEnvoyConfig shop/their-own covers"),
        (
            [
                SERVICE,
                SLICE,
                THEIRS.replace("EnvoyConfig", "ClusterwideEnvoyConfig").replace(
                    "name: books", "name: books, namespace: shop"
                ),
            ],
            RetryPolicy(2, None),
            "CiliumClusterwideEnvoyConfig .*their-own covers",
        ),
        (
            [SERVICE, SLICE, ROUTE],
            InFlightCap(10, None),
            "Cilium makes a CiliumEnvoyConfig of HTTPRoute shop/books",
        ),
        ([SERVICE, ROUTE], RetryPolicy(2, 0.2), "has no retry budget, and Cilium reads none"),
        ([SERVICE], Timeout(2.0, None), "no HTTPRoute or GRPCRoute of namespace shop leads to books"),
        ([SERVICE], InFlightCap(10, None), "on how many nodes"),
        ([SERVICE, SLICE], InFlightCap(10, 5), "no requests of priority HIGH"),
        ([SERVICE, SLICE], RateLimit(10.0), "is not known"),
    ],
)
def test_what_cilium_cannot_say_is_refused_by_name(objects: list[str], value: KnobValue, reason: str) -> None:
    with pytest.raises(Inexpressible, match=reason):
        MESH.changes(shop(*objects), BOOKS, value)
