"""A small lab for the adapters' tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from governor.lab.document_files import parse_scenario
from governor.lab.documents import DataPlane, Fault, Retries, Scenario
from governor.lab.envoy_config import write_envoy_files
from governor.lab.layout import make_layout

SMALL = """
name: small
description: one service, two classes
duration_s: 3
topology:
  services:
    - {name: web, replicas: 2, workers: 8, service_time_s: 0.01}
apis:
  - {name: shop, priority: high, calls: {service: web}}
  - {name: shop, priority: low, calls: {service: web}}
load:
  classes:
    shop.high: {schedule: [[3, 30]]}
    shop.low: {schedule: [[3, 60]]}
slo: {latency_s: 0.2, timeout_s: 1.0}
"""


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """Two replicas behind one edge, retried twice; from its start on both fail every request."""
    failing = tuple(
        Fault(kind="failing_replica", at_s=0, for_s=60, service="web", replica=replica, error_rate=1)
        for replica in (0, 1)
    )
    plane = DataPlane(lb_policy="round_robin", retries=Retries(attempts=2))
    return parse_scenario(SMALL, Path("small.yaml")).model_copy(update={"data_plane": plane, "faults": failing})


@pytest.fixture
def xds(tmp_path: Path, scenario: Scenario) -> Path:
    """The lab's discovery files, without an Envoy."""
    write_envoy_files(scenario, make_layout(scenario, "127.0.0.1", 19000), tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def prometheus_binary(absent: Callable[[str], NoReturn]) -> str:
    """Prometheus of this machine."""
    found = shutil.which("prometheus")
    return found if found is not None else absent("no `prometheus` on the PATH (Debian: apt install prometheus)")
