"""The lab with istiod between the API server and its Envoys: what is written takes effect on traffic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from governor.adapters.envoy_admin import EnvoyAdminSource
from governor.errors import LabError
from governor.lab.bed.programs import ISTIOD, KUBERNETES
from governor.lab.document_files import parse_scenario
from governor.lab.mesh import MeshLab
from governor.lab.through.istio import IstioConfiguration

from .conftest import require
from .traffic import SHOP, eventually, rates_of, under_load

WEB, STOCK = "web.shop.svc.cluster.local", "stock.shop.svc.cluster.local"
INTO_WEB, INTO_STOCK = f"ingress.shop|{WEB}", f"{WEB}|{STOCK}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, real_envoy: Path) -> Iterator[MeshLab]:
    """A running lab under load."""
    require((*KUBERNETES, ISTIOD))
    with under_load(tmp_path_factory.mktemp("lab"), IstioConfiguration(subsets=True), "127.0.78.1") as running:
        yield running


@pytest.fixture(scope="module")
def source(lab: MeshLab) -> Iterator[EnvoyAdminSource]:
    with closing(EnvoyAdminSource(list(lab.admin_urls.values()), [lab.metrics_url], step_s=0.5)) as found:
        yield found


def configured(lab: MeshLab) -> IstioConfiguration:
    assert isinstance(lab.configuration, IstioConfiguration)
    return lab.configuration


def written(lab: MeshLab, kind: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    found = configured(lab).bed.api.get(
        {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata}
    )
    return {key: found[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": metadata}


def test_edges_are_named_by_host_and_subsets_are_their_backends(source: EnvoyAdminSource) -> None:
    frame = source.observe(3.0)
    index = frame.index
    assert set(index.edges) == {INTO_WEB, INTO_STOCK}
    assert set(zip(index.apis, (index.edges[e] for e in index.api_edge), strict=True)) == {
        ("buy.high", INTO_WEB),
        ("buy.low", INTO_WEB),
    }
    backends = {(index.edges[e], name) for e, name in zip(index.backend_edge, index.backends, strict=True)}
    assert backends == {(edge, name) for edge in (INTO_WEB, INTO_STOCK) for name in ("r0", "r1")}
    rates = dict(zip(index.edges, frame.edge.rate, strict=True))
    assert rates[INTO_WEB] == pytest.approx(100, rel=0.3)
    assert rates[INTO_STOCK] == pytest.approx(100, rel=0.3)
    assert float(np.nansum(frame.backend.errors)) == pytest.approx(0.0, abs=1.0)


def test_weights_shift_traffic(lab: MeshLab, source: EnvoyAdminSource) -> None:
    document = written(lab, "VirtualService", "web")
    for entry in document["spec"]["http"]:
        entry["route"][0]["weight"], entry["route"][1]["weight"] = 90, 10
    configured(lab).bed.api.apply(document)
    assert eventually(lambda: rates_of(source, INTO_WEB)["r0"] > 4 * rates_of(source, INTO_WEB)["r1"])


def test_traffic_and_its_last_configuration_outlive_istiod(lab: MeshLab, source: EnvoyAdminSource) -> None:
    plane = configured(lab)
    plane.control_plane.stop()
    try:
        assert sum(rates_of(source, INTO_STOCK).values()) > 50
    finally:
        plane.control_plane.start()
    document = written(lab, "VirtualService", "stock")
    for entry in document["spec"]["http"]:
        entry["route"][0]["weight"], entry["route"][1]["weight"] = 0, 100
    plane.bed.api.apply(document)
    assert eventually(lambda: rates_of(source, INTO_STOCK)["r0"] < 1 < rates_of(source, INTO_STOCK)["r1"])


def test_what_the_control_plane_cannot_express_is_refused_by_name(tmp_path: Path) -> None:
    scenario = parse_scenario(SHOP + "data_plane: {static_rate_limit_rps: 50}\n", Path("shop.yaml"))
    with pytest.raises(LabError, match=r"shop: data_plane\.static_rate_limit_rps cannot be had through istiod"):
        MeshLab(scenario, tmp_path, configuration=IstioConfiguration())
