"""Shared pieces of the lab's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from governor.lab.document_files import parse_scenario
from governor.lab.documents import Scenario
from tests.one_service import one_service

SMALL = one_service("small", 3, "[[3, 30]]", "[[3, 60]]", service_time_s=0.02, latency_s=0.2, workers=4)


@pytest.fixture
def small_text() -> str:
    return SMALL


@pytest.fixture
def small() -> Scenario:
    return parse_scenario(SMALL, Path("small.yaml"))
