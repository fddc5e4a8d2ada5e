"""The whole loop through Envoy Gateway: metrics of its Envoys in, policies out, and clients feel them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_status import taken
from governor.adapters.meshes.envoy_gateway import MESH
from governor.adapters.meshes.envoy_gateway_policies import POLICY
from governor.knobs import InFlightCap, Knob
from governor.lab.bed.programs import ENVOY_GATEWAY, KUBERNETES
from governor.lab.document_files import parse_scenario
from governor.lab.governed import GovernedRun, run_governed
from governor.lab.mesh import MeshLab
from governor.lab.through.envoy_gateway import EnvoyGatewayConfiguration
from governor.policy import load_policies
from governor.turn import CycleOptions
from tests.one_service import one_service

from .capabilities import record
from .conftest import gateway_ports_free, require

# Twice the 200 requests/s of the service, a third of them of high priority.
OVERLOAD = one_service(
    "busy",
    30,
    "[[8, 40], [22, 120]]",
    "[[8, 80], [22, 280]]",
    service_time_s=0.08,
    latency_s=0.64,
    timeout_s=2.0,
    more="data_plane: {timeout_s: 2.0}\n",
)
FELT_FROM_S = 22
"""14 s after the overload began: three cycles."""


@pytest.fixture(scope="module")
def governed(
    tmp_path_factory: pytest.TempPathFactory, real_envoy: Path
) -> tuple[GovernedRun, dict[str, dict[str, Any]]]:
    """A governed overload, and the policies that there were in the end by the route that they are for."""
    require((*KUBERNETES, ENVOY_GATEWAY))
    gateway_ports_free()
    scenario = parse_scenario(OVERLOAD, Path("busy.yaml"))
    home = tmp_path_factory.mktemp("lab")
    with MeshLab(scenario, home, configuration=EnvoyGatewayConfiguration()) as lab:
        options = CycleOptions(load_policies(["balanced"]), enforce=True, period_s=4.0, window_s=4.0)
        run = run_governed(lab, options)
        assert isinstance(lab.configuration, EnvoyGatewayConfiguration)
        api = KubernetesApi(api_client(lab.configuration.bed.kubeconfig))
        policies = {
            body["spec"]["targetRefs"][0]["name"]: dict(body) for _, body in api.list_of(POLICY, scenario.name)
        }
    return run, policies


def test_each_class_is_capped_at_its_route_and_the_controller_took_it(
    governed: tuple[GovernedRun, dict[str, dict[str, Any]]],
) -> None:
    run, policies = governed
    receipts = [r for result in run.cycles for r in result.receipts if r.knob is Knob.IN_FLIGHT_CAP]
    assert receipts, [held.detail for result in run.cycles for held in result.plan.held]
    last = receipts[-1].after
    assert isinstance(last, InFlightCap)
    limits = {
        name: policies[name]["spec"]["circuitBreaker"]["maxParallelRequests"]
        for name in ("shop.high", "shop.low")
    }
    # Half for each replica, which has a cluster of its own; the high class has room for bursts in both.
    assert last.default == 2 * limits["shop.low"]
    assert last.high is not None
    assert last.high / 2 < limits["shop.high"] < last.high
    assert all(taken(policies[name]) is True for name in limits)
    record(MESH.name, Knob.IN_FLIGHT_CAP.value, "written by the whole loop, and felt by clients in the lab")


def test_high_priority_is_served_and_work_is_seen(
    governed: tuple[GovernedRun, dict[str, dict[str, Any]]],
) -> None:
    run, _ = governed
    load = run.load
    offered, served = (
        sum(found["shop.high"][FELT_FROM_S:].tolist()) for found in (load.offered, load.ok_within_slo)
    )
    assert served > 0.9 * offered
    frame = run.cycles[-1].frame
    used = dict(zip(frame.index.services, frame.service.cpu_used.tolist(), strict=True))
    # Both replicas' work: 16 workers, and more to do than they can.
    assert used["web-0.busy.svc.cluster.local"] == pytest.approx(16.0, rel=0.25)
