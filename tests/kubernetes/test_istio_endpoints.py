"""Endpoints of a ServiceEntry through istiod: each is counted, and the weights that are written shift traffic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from governor.adapters.envoy_admin import EnvoyAdminSource
from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.istio import MESH
from governor.domain import MeshIndex
from governor.knobs import BackendWeights, Knob, Target, TargetKind
from governor.lab.bed.programs import ISTIOD, KUBERNETES
from governor.lab.mesh import MeshLab
from governor.lab.through.configuration import OWN_NAMESPACE
from governor.lab.through.istio import IstioConfiguration

from .conftest import require
from .traffic import eventually, rates_of, under_load

WEB = "web.shop.svc.cluster.local"
INTO_WEB = f"ingress.shop|{WEB}"
EDGE = Target(TargetKind.EDGE, INTO_WEB)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, real_envoy: Path) -> Iterator[MeshLab]:
    """A running lab under load."""
    del real_envoy
    require((*KUBERNETES, ISTIOD))
    with under_load(tmp_path_factory.mktemp("lab"), IstioConfiguration(), "127.0.80.1") as running:
        yield running


@pytest.fixture(scope="module")
def source(lab: MeshLab) -> Iterator[EnvoyAdminSource]:
    with closing(EnvoyAdminSource(list(lab.admin_urls.values()), [lab.metrics_url], step_s=0.5)) as found:
        yield found


@pytest.fixture
def plane(lab: MeshLab) -> KubernetesControlPlane:
    kubeconfig = lab.configuration.kubeconfig
    assert kubeconfig is not None
    return KubernetesControlPlane(KubernetesApi(api_client(kubeconfig)), PlaneOptions((MESH,), OWN_NAMESPACE))


def backends(index: MeshIndex, edge: str) -> tuple[str, ...]:
    row = index.edges.index(edge)
    return tuple(name for at, name in zip(index.backend_edge, index.backends, strict=True) if at == row)


def test_every_endpoint_is_counted_by_its_address(lab: MeshLab, source: EnvoyAdminSource) -> None:
    addresses = {f"{lab.layout.address}:{port}" for port in lab.layout.replica_ports["web"]}
    assert set(backends(source.observe(2.0).index, INTO_WEB)) == addresses
    assert all(rate > 20 for rate in rates_of(source, INTO_WEB).values())


def test_weights_shift_traffic_and_are_given_back(
    source: EnvoyAdminSource, plane: KubernetesControlPlane
) -> None:
    index = source.observe(2.0).index
    first, second = backends(index, INTO_WEB)
    assert plane.read(index).weight.tolist() == [0.5] * len(index.backends)
    value = BackendWeights(((first, 0.95), (second, 0.05)))
    assert plane.write(EDGE, Knob.WEIGHTS, value).after == value
    assert eventually(lambda: rates_of(source, INTO_WEB)[first] > 4 * rates_of(source, INTO_WEB)[second])
    plane.release()
    assert eventually(lambda: rates_of(source, INTO_WEB)[first] < 2 * rates_of(source, INTO_WEB)[second])
