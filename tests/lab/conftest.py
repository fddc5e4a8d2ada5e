"""Shared pieces of the lab's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from governor.lab.document_files import parse_scenario
from governor.lab.documents import Scenario

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
