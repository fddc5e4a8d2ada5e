"""A small lab that tests of several control planes run, and how they look at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from governor.adapters.envoy_admin import EnvoyAdminSource
from governor.errors import LabError
from governor.lab.document_files import parse_scenario
from governor.lab.mesh import MeshLab
from governor.lab.through.configuration import Configuration

SHOP = """
name: shop
description: one service in front of another
duration_s: 120
seed: 7
topology:
  services:
    - {name: web, replicas: 2, workers: 8, service_time_s: 0.005}
    - {name: stock, replicas: 2, workers: 8, service_time_s: 0.005}
apis:
  - {name: buy, priority: high, calls: {service: web, calls: [{service: stock}]}}
  - {name: buy, priority: low, calls: {service: web, calls: [{service: stock}]}}
load:
  classes:
    buy.high: {schedule: [[120, 40]]}
    buy.low: {schedule: [[120, 60]]}
slo: {latency_s: 0.5, timeout_s: 1.0}
"""
WITHIN_S = 30.0
"""How long an effect may take before a test gives it up; far above what it takes."""


@contextmanager
def under_load(home: Path, configuration: Configuration, address: str) -> Iterator[MeshLab]:
    """A running lab whose load runs until the block is left."""
    scenario = parse_scenario(SHOP, Path("shop.yaml"))
    with MeshLab(scenario, home, address, configuration=configuration) as running:
        load = Thread(target=_drive, args=(running,), name="load")
        load.start()
        yield running
    load.join()


def _drive(running: MeshLab) -> None:
    with suppress(LabError):  # stopped when the tests are through
        running.run()


def eventually(said: Callable[[], bool]) -> bool:
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        if said():
            return True
        time.sleep(0.1)
    return False


def rates_of(source: EnvoyAdminSource, edge: str) -> dict[str, float]:
    """Requests a second of each backend of an edge, over two seconds."""
    frame = source.observe(2.0)
    row = frame.index.edges.index(edge)
    return {
        name: float(frame.backend.rate[at])
        for at, name in enumerate(frame.index.backends)
        if frame.index.backend_edge[at] == row
    }
