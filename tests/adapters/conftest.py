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
from tests.one_service import one_service

SMALL = one_service("small", 3, "[[3, 30]]", "[[3, 60]]", service_time_s=0.01, latency_s=0.2, seed=1)


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
