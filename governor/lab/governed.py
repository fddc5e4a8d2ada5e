"""A lab with the governor at work: the load runs in a thread while cycles run beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from governor.adapters.clock import SystemClock
from governor.adapters.envoy_admin import EnvoyAdminSource
from governor.adapters.envoy_files import EnvoyFilesControlPlane
from governor.adapters.memory import MemoryLedger
from governor.cycle import cycle
from governor.early import look
from governor.errors import LabError
from governor.lab.mesh import MeshLab, Progress
from governor.lab.results import LoadResult
from governor.lab.through.configuration import OWN_NAMESPACE, FileConfiguration
from governor.ports import ControlPlane, Ledger
from governor.turn import BlindCycle, CutShort, CycleOptions, CycleResult, GovernorState, Ports


@dataclass(frozen=True, eq=False)
class GovernedRun:
    """What clients saw, and what the governor did meanwhile."""

    load: LoadResult
    cycles: tuple[CycleResult, ...]
    """Turns between two cycles included."""
    blind: tuple[str, ...]
    """Why cycles had no frame, or were cut short."""


def run_governed(
    lab: MeshLab,
    options: CycleOptions,
    ledger: Ledger | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> GovernedRun:
    """Drive the load of a started `lab` and govern it from the scenario's `govern_from_s` until the load ends.

    Raises LabError if a part of the lab dies. A lab of files can be governed if it has one Envoy.
    """
    plane = _control_plane(lab)
    found: list[LoadResult] = []
    failed: list[BaseException] = []

    def drive() -> None:
        try:
            found.append(lab.run(on_progress))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread below
            failed.append(error)

    load = threading.Thread(target=drive, name="load")
    with closing(EnvoyAdminSource(list(lab.admin_urls.values()), [lab.metrics_url])) as source:
        ports = Ports(source, plane, ledger or MemoryLedger(), SystemClock())
        begun = time.monotonic()
        load.start()
        cycles, blind = _govern(ports, options, load, begun + float(lab.scenario.govern_from_s))
    if failed:
        raise failed[0]
    return GovernedRun(found[0], tuple(cycles), tuple(blind))


def _control_plane(lab: MeshLab) -> ControlPlane:
    if isinstance(lab.configuration, FileConfiguration):
        if len(lab.admin_urls) != 1:
            raise LabError("a lab with an Envoy per service has no single directory to govern")
        return EnvoyFilesControlPlane(next(iter(lab.directories.values())), lab.admin_url)
    from governor.adapters.kubernetes_api import KubernetesApi
    from governor.adapters.kubernetes_client import api_client
    from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
    from governor.adapters.meshes.known import MESHES

    kubeconfig = lab.configuration.kubeconfig
    assert kubeconfig is not None
    options = PlaneOptions(MESHES, OWN_NAMESPACE)
    return KubernetesControlPlane(KubernetesApi(api_client(kubeconfig)), options)


def _govern(
    ports: Ports, options: CycleOptions, load: threading.Thread, first: float
) -> tuple[list[CycleResult], list[str]]:
    state = GovernorState()
    cycles: list[CycleResult] = []
    blind: list[str] = []
    due = first + options.period_s
    while True:
        left = max(0.0, due - time.monotonic())
        load.join(min(left, options.look_s) if options.look_s else left)
        if not load.is_alive():
            return cycles, blind
        early = time.monotonic() < due
        try:
            result = (look if early else cycle)(state, ports, options)
        except (BlindCycle, CutShort) as error:
            state = error.state
            blind.append(str(error))
        else:
            if result is not None:
                state = result.state
                cycles.append(result)
        if not early:
            due += options.period_s
