"""What the governor writes through Envoy Gateway, seen in the Envoys that serve a lab's load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.envoy_gateway import MESH
from governor.knobs import (
    BackendWeights,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RetryPolicy,
    Target,
    TargetKind,
)
from governor.lab.bed.programs import ENVOY_GATEWAY, KUBERNETES
from governor.lab.envoy_process import ask
from governor.lab.mesh import MeshLab
from governor.lab.through.envoy_gateway import EnvoyGatewayConfiguration
from governor.observe.index import EdgeName, mesh_index

from .capabilities import record
from .conftest import gateway_ports_free, require
from .traffic import eventually, under_load

EDGE = Target(TargetKind.EDGE, "web.shop.svc.cluster.local|stock-0.shop.svc.cluster.local")
BACKENDS = ("stock-0", "stock-1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, real_envoy: Path) -> Iterator[MeshLab]:
    """A running lab under load, whose routes are annotated as the governor's to edit."""
    require((*KUBERNETES, ENVOY_GATEWAY))
    gateway_ports_free()
    with under_load(tmp_path_factory.mktemp("lab"), EnvoyGatewayConfiguration(), "127.0.0.1") as running:
        yield running


@pytest.fixture
def plane(lab: MeshLab) -> Iterator[KubernetesControlPlane]:
    """The governor's control plane over the lab's cluster; what it wrote is given back in the end."""
    assert isinstance(lab.configuration, EnvoyGatewayConfiguration)
    bed = lab.configuration.bed
    made = KubernetesControlPlane(
        KubernetesApi(api_client(bed.kubeconfig)), PlaneOptions((MESH,), "shop", ("shop",))
    )
    caller, _, callee = EDGE.name.partition("|")
    made.read(mesh_index([EdgeName(EDGE.name, caller, callee)], [(EDGE.name, name) for name in BACKENDS]))
    yield made
    made.release()


def clusters(lab: MeshLab, rule: int) -> str:
    """What the Envoy of `web` says of the backends of one rule of its route to `stock`."""
    text = ask(lab.address, lab.layout.admin_ports["web"], "/clusters") or ""
    wanted = f"httproute/shop/web-stock/rule/{rule}/"
    return "\n".join(line for line in text.splitlines() if line.startswith(wanted))


def configured(lab: MeshLab) -> str:
    return ask(lab.address, lab.layout.admin_ports["web"], "/config_dump") or ""


def answered(lab: MeshLab) -> dict[str, int]:
    """Requests that each backend of `stock` has had from `web`."""
    path = "/stats?usedonly&filter=cluster.httproute/shop/web-stock/.*upstream_rq_total$"
    text = ask(lab.address, lab.layout.admin_ports["web"], path) or ""
    found: dict[str, int] = {}
    for name, count in re.findall(r"/backend/(\d+)\S*: (\d+)", text):
        found[name] = found.get(name, 0) + int(count)
    return found


def write(plane: KubernetesControlPlane, knob: Knob, value: KnobValue) -> None:
    assert plane.write(EDGE, knob, value).after == value
    record(MESH.name, knob.value, "seen in the Envoys of a lab")


def test_each_class_has_its_cap_in_the_proxy(lab: MeshLab, plane: KubernetesControlPlane) -> None:
    write(plane, Knob.IN_FLIGHT_CAP, InFlightCap(44, 66))
    # Two backends share each, with filters and so a cluster each; the high class has room for bursts in both.
    for rule, cap in ((0, 40), (1, 22)):
        assert eventually(lambda rule=rule, cap=cap: f"max_requests::{cap}\n" in clusters(lab, rule)), rule
        assert "max_connections::4294967295\n" in clusters(lab, rule), "the Gateway's own limits stay"


def test_weights_move_the_load(lab: MeshLab, plane: KubernetesControlPlane) -> None:
    write(plane, Knob.WEIGHTS, BackendWeights((("stock-0", 0.0), ("stock-1", 1.0))))

    def moved() -> bool:
        before = answered(lab)
        grown = eventually(lambda: answered(lab).get("1", 0) > before.get("1", 0) + 40)
        return grown and answered(lab).get("0", 0) == before.get("0", 0)

    assert eventually(moved)


def test_retries_and_outlier_detection_are_in_the_proxys_configuration(
    lab: MeshLab, plane: KubernetesControlPlane
) -> None:
    write(plane, Knob.RETRIES, RetryPolicy(3, 0.15))
    write(plane, Knob.OUTLIER_DETECTION, OutlierDetection(0.35, 4))

    def there() -> bool:
        dump: Any = configured(lab)
        return all(
            re.search(pattern, dump)
            for pattern in (
                r'"num_retries": 3\b',
                r'"budget_percent": \{\s*"value": 15\b',
                r'"max_ejection_percent": 35\b',
                r'"consecutive_5xx": 4\b',
            )
        )

    assert eventually(there)


def test_what_was_written_is_given_back(lab: MeshLab, plane: KubernetesControlPlane) -> None:
    write(plane, Knob.IN_FLIGHT_CAP, InFlightCap(46, 68))
    assert eventually(lambda: "max_requests::41\n" in clusters(lab, 0))
    plane.release()
    assert eventually(lambda: "max_requests::4294967295\n" in clusters(lab, 0))
