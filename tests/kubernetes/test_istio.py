"""Every knob of Istio with sidecars at a real API server; istiod's own webhook judges each write and dry run."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.meshes.istio import MESH
from governor.adapters.meshes.rules_istio import violations
from governor.errors import ControlPlaneError
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RetryPolicy,
    Timeout,
)

from .capabilities import record
from .istio_cluster import Document, Governed, istio, service, values

pytestmark = pytest.mark.usefixtures("istiod")
BACKENDS = ("v1", "v2")
USER = "kubectl-client-side-apply"
SUBSETS = [{"name": name, "labels": {"version": name}} for name in BACKENDS]


def routes(host: str) -> Document:
    split = [{"destination": {"host": host, "subset": name}, "weight": 50} for name in BACKENDS]
    high = {"name": "high", "match": [{"headers": {"x-class": {"exact": "high"}}}], "route": split}
    retries = {"attempts": 3, "perTryTimeout": "1500ms", "retryOn": "5xx,reset", "backoff": "25ms"}
    return {"hosts": [host], "http": [high, {"timeout": "10s", "retries": retries, "route": split}]}


def rule(host: str) -> Document:
    pool = {"http": {"http2MaxRequests": 900}, "tcp": {"connectTimeout": "3s"}}
    tls = {"mode": "ISTIO_MUTUAL"}
    policy = {"tls": tls, "connectionPool": pool, "outlierDetection": {}}
    return {"host": host, "trafficPolicy": policy, "subsets": SUBSETS}


def governed(bed: Any, namespace: str, *documents: Document) -> Governed:
    for document in (service("web", namespace), service("api", namespace), *documents):
        bed.api.apply(document, manager=USER)
    return Governed(bed.kubeconfig, MESH, namespace, f"api.{namespace}.svc.cluster.local", BACKENDS)


def of_user(namespace: str, may_edit: str = "all") -> tuple[Document, Document]:
    return (
        istio("VirtualService", "api", namespace, routes("api"), may_edit),
        istio("DestinationRule", "api", namespace, rule("api"), may_edit),
    )


def written(plane: Governed, knob: Knob, value: KnobValue) -> KnobValue:
    after = plane.write(knob, value)
    for ref, body in plane.objects().items():
        assert violations(ref.kind, body) == []
    return after


def read_as(knob: Knob, value: KnobValue) -> KnobValue:
    """What the objects say of `value`: a share of 0 has no number of failures, no retries no time for a try."""
    return OutlierDetection(0.0, None) if value == OutlierDetection(0.0, None) else value


EXPECTED = [
    *values(BACKENDS),
    (Knob.IN_FLIGHT_CAP, InFlightCap(50, 61), InFlightCap(40, 71)),
]


@pytest.mark.parametrize(("knob", "first", "second"), EXPECTED)
def test_a_knob_on_the_users_objects(
    bed: Any, namespace: str, knob: Knob, first: KnobValue, second: KnobValue
) -> None:
    plane = governed(bed, namespace, *of_user(namespace))
    original = plane.objects()
    for value in (first, second):
        assert written(plane, knob, value) == read_as(knob, value)
    assert plane.objects() != original
    plane.plane.read(plane.index)
    before = next(iter(plane.plane._images))
    own = before.own
    plane.plane.release()
    assert plane.objects() == original
    record(MESH.name, knob.value, f"applied, changed, released{' (own object)' if own else ''}; istiod's webhook")


@pytest.mark.parametrize(("knob", "first", "second"), list(values()))
def test_a_knob_where_the_user_has_nothing(
    bed: Any, namespace: str, knob: Knob, first: KnobValue, second: KnobValue
) -> None:
    plane = governed(bed, namespace)
    for value in (first, second):
        assert written(plane, knob, value) == read_as(knob, value)
    assert plane.objects()
    plane.plane.release()
    assert plane.objects() == {}


@pytest.mark.parametrize("backwards", [False, True])
def test_all_knobs_at_once_and_released(bed: Any, namespace: str, backwards: bool) -> None:
    plane = governed(bed, namespace, *of_user(namespace))
    original = plane.objects()
    knobs = list(values(BACKENDS))
    for knob, first, second in reversed(knobs) if backwards else knobs:
        written(plane, knob, first)
        written(plane, knob, second)
    plane.plane.release()
    assert plane.objects() == original


def test_weights_of_endpoints_that_are_no_pods(bed: Any, namespace: str) -> None:
    host = f"old.{namespace}.svc.cluster.local"
    entry = {
        "hosts": [host],
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "127.60.0.1"}, {"address": "127.60.0.2", "weight": 3}],
    }
    bed.api.apply(istio("ServiceEntry", "old", namespace, entry, "weights"), manager=USER)
    plane = Governed(bed.kubeconfig, MESH, namespace, host, ("127.60.0.1:80", "127.60.0.2:80"))
    original = plane.objects()
    for share in (0.75, 0.9999):
        value = BackendWeights((("127.60.0.1:80", share), ("127.60.0.2:80", 1 - share)))
        after = written(plane, Knob.WEIGHTS, value)
        assert isinstance(after, BackendWeights)
        assert dict(after.shares) == pytest.approx(dict(value.shares))
    plane.plane.release()
    assert plane.objects() == original
    record(MESH.name, "weights", "of ServiceEntry's endpoints: applied, changed, released; istiod's webhook")


@pytest.mark.parametrize("retries_first", [False, True])
def test_retries_and_timeout_share_a_stanza_and_both_go_back(
    bed: Any, namespace: str, retries_first: bool
) -> None:
    plane = governed(bed, namespace)
    pair: list[tuple[Knob, KnobValue]] = [
        (Knob.RETRIES, RetryPolicy(1, None)),
        (Knob.TIMEOUT, Timeout(1.0, 0.25)),
    ]
    for knob, value in pair if retries_first else reversed(pair):
        written(plane, knob, value)
    plane.plane.release()
    assert plane.objects() == {}


def test_without_the_annotation_only_free_leaves_change(bed: Any, namespace: str) -> None:
    plane = governed(bed, namespace, *of_user(namespace, ""))
    original = plane.objects()
    plane.plane.read(plane.index)
    for knob, value in (
        (Knob.TIMEOUT, Timeout(1.0, None)),
        (Knob.RETRIES, RetryPolicy(1, None)),
        (Knob.WEIGHTS, BackendWeights((("v1", 0.3), ("v2", 0.7)))),
        (Knob.IN_FLIGHT_CAP, InFlightCap(10, None)),
    ):
        with pytest.raises(ControlPlaneError, match=MAY_EDIT):
            plane.plane.write(plane.target(knob), knob, value)
    assert plane.objects() == original
    written(plane, Knob.CONNECTION_LIMITS, ConnectionLimits(100, 20))
    written(plane, Knob.OUTLIER_DETECTION, OutlierDetection(0.2, 4))
    changed = plane.objects()
    ref = next(ref for ref in changed if ref.kind.kind == "DestinationRule")
    policy = changed[ref]["spec"]["trafficPolicy"]
    assert policy["connectionPool"]["http"] == {"http2MaxRequests": 900, "http1MaxPendingRequests": 10}
    assert policy["connectionPool"]["tcp"] == {"connectTimeout": "3s", "maxConnections": 50}
    plane.plane.release()
    assert plane.objects() == original


BAD = [
    ("VirtualService", {"hosts": ["api"], "http": [{"route": [{"weight": 0}, {"weight": 0}]}]}),
    (
        "VirtualService",
        {"hosts": ["api"], "http": [{"retries": {"attempts": 0, "retryOn": "5xx"}, "route": [{}]}]},
    ),
    ("VirtualService", {"hosts": ["api"], "http": [{"retries": {"attempts": 1, "retryOn": "a"}, "route": [{}]}]}),
    ("DestinationRule", {"host": "api", "trafficPolicy": {}}),
    ("DestinationRule", {"host": "api", "trafficPolicy": {"connectionPool": {}}}),
    ("DestinationRule", {"host": "api", "trafficPolicy": {"outlierDetection": {"maxEjectionPercent": 120}}}),
    ("DestinationRule", {"host": "api", "subsets": [{"name": "a"}, {"name": "a"}]}),
    (
        "DestinationRule",
        {"host": "api", "trafficPolicy": {"outlierDetection": {"consecutiveLocalOriginFailures": 5}}},
    ),
]


@pytest.mark.parametrize(("kind", "spec"), BAD)
def test_the_pure_rules_refuse_what_the_webhook_refuses(
    bed: Any, namespace: str, kind: str, spec: Document
) -> None:
    for entry in spec.get("http", ()):
        entry["route"] = [{"destination": {"host": "api"}, **route} for route in entry["route"]]
    document = istio(kind, "bad", namespace, spec)
    with pytest.raises(Exception, match=r"denied the request|Invalid value"):
        bed.api.apply(document)
    known = next(known for known in MESH.kinds if known.kind == kind)
    assert violations(known, document)
