"""The whole cycle against real Envoy: an overload that takes everything down ungoverned is survived governed."""

from __future__ import annotations

from pathlib import Path

import pytest

from governor.adapters.ledger import SqliteLedger
from governor.knobs import Knob
from governor.lab.document_files import parse_scenario
from governor.lab.governed import run_governed
from governor.lab.mesh import MeshLab
from governor.policy import load_policies
from governor.turn import CycleOptions
from tests.one_service import one_service

# Twice what the service can do, once it begins.
SCENARIO = one_service(
    "short_overload", 20, "[[20, 60]]", "[[5, 60], [15, 340]]", service_time_s=0.04, latency_s=0.5, workers=4
)
PRESET = Path(__file__).parents[2] / "policies" / "balanced.yaml"


@pytest.mark.envoy
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("real_envoy")
def test_users_get_through_an_overload_only_when_governed(tmp_path: Path, address: str) -> None:
    scenario = parse_scenario(SCENARIO, Path("short_overload.yaml"))
    with MeshLab(scenario, tmp_path / "ungoverned", address) as lab:
        ungoverned = lab.run()
    options = CycleOptions(load_policies([PRESET]), enforce=True, period_s=2.0, window_s=3.0)
    ledger = SqliteLedger(tmp_path / "ledger.db")
    with MeshLab(scenario, tmp_path / "governed", address) as lab:
        governed = run_governed(lab, options, ledger)
    assert ungoverned.goodput(12, 19) < 40
    assert governed.load.goodput(12, 19) > 120
    assert governed.load.goodput(12, 19, "shop.high") > 50
    written = {receipt.knob for result in governed.cycles for receipt in result.receipts}
    assert Knob.IN_FLIGHT_CAP in written
    assert not ledger.open_intents()
    assert ledger.verify() > len(governed.cycles)
    ledger.close()
