"""Percents and timeouts of Knative Services: read, written, refused by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, Change, Edit
from governor.adapters.kubernetes_objects import Snapshot
from governor.adapters.meshes.knative import KNATIVE_SERVICE, MESH, ROUTE
from governor.adapters.meshes.rules_knative import violations
from governor.knobs import BackendWeights, InFlightCap, Knob, RetryPolicy, Timeout

from .capabilities import file_agrees
from .manifests import KNATIVE_DIRECT, KNATIVE_HELLO
from .objects import cluster, gives_back, made, place

HOST = place("hello", backends=("hello-00001", "hello-00002"), callee_proxies=3)


def shop(text: str = KNATIVE_HELLO) -> Snapshot:
    return cluster(text, MESH.kinds)


def with_spec(**fields: Any) -> Snapshot:
    body = yaml.safe_load(KNATIVE_HELLO)
    body["spec"] |= fields
    return shop(yaml.safe_dump(body))


def halves(*names: str) -> BackendWeights:
    return BackendWeights(tuple((name, 1 / len(names)) for name in names))


def test_percents_are_of_revisions_and_the_latest_one_is_known_by_its_name() -> None:
    said = MESH.settings(shop(), HOST)
    assert said[Knob.WEIGHTS] == BackendWeights((("hello-00001", 0.9), ("hello-00002", 0.1)))
    assert said[Knob.TIMEOUT] == Timeout(300.0, None)
    assert said[Knob.IN_FLIGHT_CAP] == InFlightCap(30, None)


def test_a_tag_and_its_service_are_names_too() -> None:
    said = MESH.settings(shop(), place("hello", backends=("hello-00001", "candidate-hello.shop")))
    assert said[Knob.WEIGHTS] == BackendWeights((("hello-00001", 0.9), ("candidate-hello.shop", 0.1)))


def test_zeros_mean_no_setting() -> None:
    spec = {"template": {"spec": {"containerConcurrency": 0, "timeoutSeconds": 0}}, "traffic": []}
    assert MESH.settings(with_spec(**spec), HOST) == {}
    assert MESH.settings(shop(), place("other")) == {}


def test_percents_sum_to_100_and_an_entry_without_one_stays_as_it_is() -> None:
    (change,) = MESH.changes(shop(), HOST, BackendWeights((("hello-00001", 1 / 3), ("hello-00002", 2 / 3))))
    assert isinstance(change, Change)
    assert change.edits == (
        Edit(("spec", "traffic", 0, "percent"), 33),
        Edit(("spec", "traffic", 1, "percent"), 67),
    )
    gives_back(shop(), [change])


def test_a_route_without_a_service_is_written_itself() -> None:
    where = place("direct", backends=HOST.backends)
    (change,) = MESH.changes(shop(KNATIVE_DIRECT), where, halves("hello-00001", "hello-00002"))
    assert change.ref.kind == ROUTE
    with pytest.raises(Inexpressible, match="only routes"):
        MESH.changes(shop(KNATIVE_DIRECT), where, Timeout(2.0, None))


@given(st.integers(0, 100))
def test_shares_that_are_written_are_read_back(percent: int) -> None:
    value = BackendWeights((("hello-00001", percent / 100), ("hello-00002", 1 - percent / 100)))
    said = MESH.settings(made(MESH, shop(), HOST, value), HOST)[Knob.WEIGHTS]
    assert isinstance(said, BackendWeights)
    assert dict(said.shares) == pytest.approx(dict(value.shares), abs=0.005)


@given(st.floats(0.001, 600.0))
def test_a_timeout_that_is_written_is_read_back_in_whole_seconds_and_never_shorter(seconds: float) -> None:
    said = MESH.settings(made(MESH, shop(), HOST, Timeout(seconds, None)), HOST)[Knob.TIMEOUT]
    assert isinstance(said, Timeout)
    assert said.request_s is not None
    assert -1e-6 <= said.request_s - seconds < 1.0


def test_a_timeout_is_taken_away() -> None:
    (change,) = MESH.changes(shop(), HOST, Timeout(None, None))
    assert isinstance(change, Change)
    assert change.edits == (Edit(("spec", "template", "spec", "timeoutSeconds"), ABSENT),)
    assert Knob.TIMEOUT not in MESH.settings(made(MESH, shop(), HOST, Timeout(None, None)), HOST)


PINNED = [{"revisionName": "hello-00001", "percent": 100}]
NAMED = {"metadata": {"name": "hello-v3"}, "spec": {"containers": [{"image": "hello"}]}}


@pytest.mark.parametrize(
    ("spec", "value", "reason"),
    [
        ({}, BackendWeights((("hello-00001", 0.5), ("hello-00009", 0.5))), "has no destination hello-00009"),
        ({}, BackendWeights((("hello-00001", 1.0),)), "hello-00002 gets traffic"),
        ({"traffic": []}, halves("hello-00001", "hello-00002"), "has no spec.traffic"),
        (
            {"traffic": [{**PINNED[0], "percent": 50}] * 2},
            BackendWeights((("hello-00001", 1.0),)),
            "names hello-00001 more than once",
        ),
        ({}, Timeout(601.0, None), "at most 600 s"),
        ({}, Timeout(2.0, 1.0), "no timeout of a single try"),
        ({"traffic": PINNED}, Timeout(2.0, None), "pinned to hello-00001"),
        ({"template": NAMED}, Timeout(2.0, None), "names its revision hello-v3 itself"),
        ({}, InFlightCap(None, None), "containerConcurrency is per pod"),
        ({}, RetryPolicy(0, None), "Knative retries nothing"),
    ],
)
def test_what_knative_cannot_say_is_refused_by_name(spec: dict[str, Any], value: Any, reason: str) -> None:
    with pytest.raises(Inexpressible, match=reason):
        MESH.changes(with_spec(**spec), HOST, value)


def test_a_service_that_is_not_of_knative_is_refused() -> None:
    with pytest.raises(Inexpressible, match="shop/cart is neither a Service nor a Route of Knative"):
        MESH.changes(shop(), place("cart"), Timeout(2.0, None))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"percent": 80}, r"sum to 90, not to 100"),
        ({"percent": 101}, r"spec.traffic\[0\].percent is 101"),
        ({"latestRevision": True}, "opposite of having a revisionName"),
        ({"configurationName": "hello"}, "configurationName must not be there"),
        ({"url": "http://x"}, "for the status only"),
        ({"tag": "candidate"}, "the tag candidate more than once"),
    ],
)
def test_the_webhooks_rules_of_traffic(change: dict[str, Any], rule: str) -> None:
    body = yaml.safe_load(KNATIVE_HELLO)
    assert violations(KNATIVE_SERVICE, body) == []
    broken = copy.deepcopy(body)
    broken["spec"]["traffic"][0] |= change
    found = violations(KNATIVE_SERVICE, broken)
    with pytest.raises(AssertionError, match=rule):
        raise AssertionError(found)


def test_the_webhooks_rules_of_a_route_and_of_a_timeout() -> None:
    assert violations(ROUTE, {"spec": {"traffic": [{"percent": 100}]}}) == [
        "spec.traffic[0] needs a revisionName or a configurationName"
    ]
    body = yaml.safe_load(KNATIVE_HELLO)
    body["spec"]["template"]["spec"]["timeoutSeconds"] = 601
    assert "timeoutSeconds is 601" in violations(KNATIVE_SERVICE, body)[0]


def test_the_file_of_capabilities_agrees() -> None:
    file_agrees(
        MESH,
        {
            Knob.WEIGHTS: (shop(), HOST, halves("hello-00001", "hello-00002")),
            Knob.TIMEOUT: (shop(), HOST, Timeout(2.0, None)),
        },
    )
