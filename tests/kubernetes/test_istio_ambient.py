"""Every knob of a service with a waypoint at a real API server, with istiod's webhook and conditions."""

from __future__ import annotations

from typing import Any

import pytest

from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.meshes.istio_ambient import MESH
from governor.errors import ControlPlaneError
from governor.knobs import BackendWeights, InFlightCap, Knob, KnobValue, RateLimit, RetryPolicy, Timeout

from .capabilities import record
from .istio_cluster import Document, Governed, istio, service, values

pytestmark = pytest.mark.usefixtures("istiod")
USER = "kubectl-client-side-apply"
SUBSETS = ("v1", "v2")
SERVICES = ("api-v1", "api-v2")


def waypoint(namespace: str) -> Document:
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": namespace},
        "spec": {"gatewayClassName": "istio-waypoint", "listeners": [listener]},
    }


def virtual_service(namespace: str) -> Document:
    split = [{"destination": {"host": "api", "subset": name}, "weight": 50} for name in SUBSETS]
    return istio("VirtualService", "api", namespace, {"hosts": ["api"], "http": [{"route": split}]}, "all")


def attached(namespace: str) -> Document:
    backends = [{"name": name, "port": 80, "weight": 1} for name in SERVICES]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "api", "namespace": namespace, "annotations": {MAY_EDIT: "all"}},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "api", "port": 80}],
            "rules": [
                {"retry": {"attempts": 3, "codes": [503], "backoff": "50ms"}, "backendRefs": backends},
            ],
        },
    }


def governed(bed: Any, namespace: str, backends: tuple[str, ...], *documents: Document) -> Governed:
    label = {"istio.io/use-waypoint": "waypoint"}
    bed.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": label}})
    services = [service(name, namespace) for name in ("web", "api", *SERVICES)]
    for document in (*services, waypoint(namespace), *documents):
        bed.api.apply(document, manager=USER)
    return Governed(bed.kubeconfig, MESH, namespace, f"api.{namespace}.svc.cluster.local", backends)


def shown(plane: Governed, knob: Knob, *values: KnobValue) -> None:
    """Each value is written and read back, and at the end everything is as its owner left it."""
    original = plane.objects()
    for value in values:
        assert plane.write(knob, value) == value
    assert plane.objects() != original
    plane.plane.release()
    assert plane.objects() == original


@pytest.mark.parametrize(("knob", "first", "second"), [v for v in values(SUBSETS) if v[0] is not Knob.RATE_LIMIT])
def test_a_knob_with_virtual_services(
    bed: Any, namespace: str, knob: Knob, first: KnobValue, second: KnobValue
) -> None:
    shown(governed(bed, namespace, SUBSETS, virtual_service(namespace)), knob, first, second)
    record(MESH.name, knob.value, "applied, changed, released; istiod's webhook")


@pytest.mark.parametrize(
    ("knob", "first", "second"),
    [
        (Knob.WEIGHTS, *(BackendWeights((("api-v1", share), ("api-v2", 1 - share))) for share in (0.75, 0.25))),
        (Knob.TIMEOUT, Timeout(1.5, 0.5), Timeout(2.0, None)),
        (Knob.RETRIES, RetryPolicy(1, 0.15), RetryPolicy(2, None)),
    ],
)
def test_a_knob_with_an_attached_route(
    bed: Any, namespace: str, knob: Knob, first: KnobValue, second: KnobValue
) -> None:
    shown(governed(bed, namespace, SERVICES, attached(namespace)), knob, first, second)
    record(MESH.name, knob.value, "HTTPRoute: applied, accepted at observedGeneration, changed, released")


@pytest.mark.parametrize(
    ("knob", "value", "why"),
    [
        (Knob.RATE_LIMIT, RateLimit(5.0), "ignore EnvoyFilters"),
        (Knob.IN_FLIGHT_CAP, InFlightCap(None, 5), "ignore EnvoyFilters"),
        (Knob.TIMEOUT, Timeout(1.0, None), "both route to"),
    ],
)
def test_what_ambient_cannot_say_is_refused(
    bed: Any, namespace: str, knob: Knob, value: KnobValue, why: str
) -> None:
    plane = governed(bed, namespace, SERVICES, attached(namespace), virtual_service(namespace))
    original = plane.objects()
    with pytest.raises(ControlPlaneError, match=why):
        plane.write(knob, value)
    assert plane.objects() == original
