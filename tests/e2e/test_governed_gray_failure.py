"""Real Envoy that picks by turns: a replica that turns slow loses its share before the next cycle."""

from __future__ import annotations

from pathlib import Path

import pytest

from governor.adapters.envoy_admin import EnvoyAdminSource
from governor.knobs import Knob
from governor.lab.document_files import parse_scenario
from governor.lab.governed import run_governed
from governor.lab.mesh import MeshLab
from governor.policy import load_policies
from governor.turn import CycleOptions
from tests.one_service import one_service

PERIOD_S = 8.0
SLOW_AT_S = 9.0
SCENARIO = one_service(
    "short_gray",
    15,
    "[[15, 70]]",
    "[[15, 110]]",
    service_time_s=0.04,
    latency_s=0.3,
    replicas=3,
    more=f"faults: [{{kind: slow_replica, service: web, replica: 2, factor: 10, at_s: {SLOW_AT_S}, for_s: 6}}]\n"
    "data_plane: {lb_policy: round_robin}\n",
)

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120), pytest.mark.usefixtures("real_envoy")]


def test_a_slow_replica_is_left_between_two_cycles(tmp_path: Path, address: str) -> None:
    scenario = parse_scenario(SCENARIO, Path("short_gray.yaml"))
    options = CycleOptions(load_policies(["balanced"]), enforce=True, period_s=PERIOD_S, window_s=5.0)
    with MeshLab(scenario, tmp_path / "lab", address) as lab:
        run = run_governed(lab, options)
    (first, *_) = [c for c in run.cycles if any(r.knob is Knob.WEIGHTS for r in c.receipts)]
    assert first.frame.window_s < 2.0, "a cycle, and no look, found it"
    assert run.load.success(13, 15, in_slo=True) > 0.95


def test_glances_take_nothing_from_the_frames_of_cycles(tmp_path: Path, address: str) -> None:
    scenario = parse_scenario(SCENARIO, Path("short_gray.yaml"))
    with MeshLab(scenario, tmp_path / "lab", address) as lab:
        source = EnvoyAdminSource([lab.admin_url], [lab.metrics_url], step_s=0.2)
        assert source.glance(1.0) is None, "there was no cycle yet"
        first = source.observe(1.0)
        looked = []
        while len(looked) < 3:
            frame = source.glance(0.2)
            if frame is not None:
                looked.append(frame.at)
        frame = source.observe(1.0)
        source.close()
    assert len(set(looked)) == 3, "the same scrape was looked at twice"
    assert set(looked) <= {first.at, *(finer.at for finer in frame.within), frame.at}
