"""What tests of several folders share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from governor.errors import LabError
from governor.lab.envoy_process import envoy_binary

# A busy machine is no failure: no example of any test is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def absent() -> Callable[[str], NoReturn]:
    """Called with the reason where a real part is missing: the test is skipped, in CI it fails."""

    def end(reason: str) -> NoReturn:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have it: {reason}")
        pytest.skip(reason)

    return end


@pytest.fixture(scope="session")
def real_envoy(absent: Callable[[str], NoReturn]) -> Path:
    """Envoy's binary."""
    try:
        return envoy_binary()
    except LabError as error:
        absent(str(error))


@pytest.fixture(scope="session")
def address() -> str:
    """A loopback address of this test process, so that test runs side by side do not collide."""
    return f"127.0.79.{os.getpid() % 250 + 1}"
