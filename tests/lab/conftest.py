"""Shared pieces of the lab's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from governor.errors import LabError
from governor.lab.document_files import parse_scenario
from governor.lab.documents import Scenario
from governor.lab.envoy_process import envoy_binary

SMALL = """
name: small
description: one service, two classes
duration_s: 3
seed: 7
topology:
  services:
    - {name: web, replicas: 2, workers: 4, service_time_s: 0.02}
apis:
  - {name: shop, priority: high, calls: {service: web}}
  - {name: shop, priority: low, calls: {service: web}}
load:
  classes:
    shop.high: {schedule: [[3, 30]]}
    shop.low: {schedule: [[3, 60]]}
slo: {latency_s: 0.2, timeout_s: 1.0}
"""


@pytest.fixture
def small_text() -> str:
    return SMALL


@pytest.fixture
def small() -> Scenario:
    return parse_scenario(SMALL, Path("small.yaml"))


@pytest.fixture
def address() -> str:
    """A loopback address of this test process, so that test runs side by side do not collide."""
    return f"127.0.78.{os.getpid() % 250 + 1}"


@pytest.fixture
def real_envoy() -> Path:
    """Envoy's binary; without it the test is skipped, in CI it fails."""
    try:
        return envoy_binary()
    except LabError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have Envoy: {error}")
        pytest.skip(str(error))
