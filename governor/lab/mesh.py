"""A running lab: Envoy, services and load for one scenario, started and stopped as one thing."""

from __future__ import annotations

import atexit
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from governor.errors import LabError
from governor.lab.documents import Scenario
from governor.lab.envoy_process import START_TIMEOUT_S, envoy_binary, start_envoy, tail
from governor.lab.faults import replica_actions
from governor.lab.layout import entry_edge, make_layout, xds_directory
from governor.lab.load import LoadPlan
from governor.lab.processes import Child, Nursery
from governor.lab.results import LoadResult
from governor.lab.service_plan import make_service_plan
from governor.lab.sockets import is_open, require_free
from governor.lab.through.configuration import Configuration, FileConfiguration

LEAD_IN_S = 0.2
"""From the call of `run` to the first second of the scenario, so that all are told in time."""


@dataclass(frozen=True)
class Progress:
    """One second of a run: per API class requests sent, answered within the SLO, and not."""

    second: int
    duration_s: float
    classes: dict[str, tuple[int, int, int]]


class MeshLab:
    """Context manager around one lab; every process it starts ends with it."""

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        address: str | None = None,
        base_port: int | None = None,
        configuration: Configuration | None = None,
    ) -> None:
        self.configuration = configuration or FileConfiguration()
        self.scenario = scenario = self.configuration.scenario(scenario)
        self.directory = directory.resolve()
        self.address = address or self.configuration.home[0]
        self.layout = make_layout(scenario, self.address, base_port or self.configuration.home[1])
        self._nursery: Nursery | None = None
        self._generator: Child | None = None
        self._envoys: dict[str, Child] = {}
        self._services: Child | None = None
        self._stopping = False
        self._stop_lock = threading.RLock()

    @property
    def admin_url(self) -> str:
        """Envoy's admin interface (with an Envoy per service: that of the ingress)."""
        return f"http://{self.address}:{next(iter(self.layout.admin_ports.values()))}"

    @property
    def admin_urls(self) -> dict[str, str]:
        """Admin interface per Envoy: `mesh`, or one per caller."""
        ports = self.layout.admin_ports.items()
        return {node: f"http://{self.address}:{port}" for node, port in ports}

    @property
    def directories(self) -> dict[str, Path]:
        """Directory of the discovery files per Envoy: `mesh`, or one per caller."""
        return {node: xds_directory(self.directory, node) for node in self.layout.admin_ports}

    @property
    def metrics_url(self) -> str:
        """The services' own metrics."""
        return f"http://{self.address}:{self.layout.metrics_port}/metrics"

    @property
    def scrape_targets(self) -> list[dict[str, Any]]:
        """Scrape jobs as Prometheus' `scrape_configs` wants them."""
        envoys = [f"{self.address}:{port}" for port in self.layout.admin_ports.values()]
        services = [f"{self.address}:{self.layout.metrics_port}"]
        return [
            _scrape_job("envoy", "/stats/prometheus", envoys),
            _scrape_job("services", "/metrics", services),
        ]

    @property
    def process_ids(self) -> dict[str, int]:
        """Process id of each child that is running, by what it is."""
        children: dict[str, Child | None] = {f"envoy-{n}": c for n, c in self._envoys.items()}
        children |= {"services": self._services, "load": self._generator}
        return {name: child.pid for name, child in children.items() if child is not None}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start services, Envoys and the (still silent) load; LabError if anything is in the way."""
        if self._nursery is not None:
            raise LabError("this lab is already running")
        envoy_binary()
        require_free(self.address, self.layout.all_ports())
        self._stopping = False
        self._nursery = Nursery()
        atexit.register(self.stop)
        try:
            bootstraps = self._configure()
            self._start_services()
            for node, path in bootstraps.items():
                port = self.layout.admin_ports[node]
                self._envoys[node] = start_envoy(
                    self._nursery, path, self.address, port, from_files=self.configuration.kubeconfig is None
                )
            self._await_listeners()
            self._start_generator()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the lab; does nothing if there is none."""
        self._stopping = True
        with self._stop_lock:  # whoever comes second waits until all is gone
            if self._nursery is not None:
                self._nursery.close()
                self._nursery = self._generator = self._services = None
                self._envoys.clear()
                self.configuration.close()
                atexit.unregister(self.stop)

    def run(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        keep_partial: bool = False,
    ) -> LoadResult:
        """Drive the scenario's load and faults, from now for its duration; what clients saw.

        Blocks; call it from a thread of its own to do something beside it. With `keep_partial` a
        KeyboardInterrupt ends the load early and gives what there is. Raises LabError if a part
        of the lab dies meanwhile.
        """
        if self._nursery is None:
            raise LabError("the lab is not running: call start() first, or use 'with'")
        if self._generator is None:
            self._start_generator()
        generator = self._generator
        assert generator is not None
        start = time.monotonic() + LEAD_IN_S
        self._schedule_faults(start)
        _tell(generator, f"go {start!r}")
        try:
            self._follow(generator, on_progress)
        except KeyboardInterrupt:
            if not keep_partial:
                raise
            _tell(generator, "stop")
            self._follow(generator, None)
        generator.wait()
        self._generator = None
        return LoadResult.load(self._output)

    @property
    def _output(self) -> Path:
        return self.directory / "load.npz"

    def _follow(self, generator: Child, on_progress: Callable[[Progress], None] | None) -> None:
        assert generator.stdout is not None
        for line in generator.stdout:
            if line == "done\n":
                return
            said = json.loads(line)
            classes = {name: tuple(counts) for name, counts in said["classes"].items()}
            if on_progress is not None:
                on_progress(Progress(said["second"], self.scenario.duration_s, classes))
            self._require_alive()
        if self._stopping:
            raise LabError("the lab was stopped while its load was running")
        log = self.directory / "load.log"
        raise LabError(f"the load generator ended before its time:\n{tail(log)}")

    def _require_alive(self) -> None:
        for name, child in self._envoys.items():
            if child.poll() is not None and not self._stopping:
                log = xds_directory(self.directory, name) / "envoy.log"
                raise LabError(f"Envoy ended during the run ({child.returncode}):\n{tail(log)}")
        if self._services is not None and self._services.poll() is not None and not self._stopping:
            log = self.directory / "services.log"
            raise LabError(f"the services ended during the run:\n{tail(log)}")

    def _configure(self) -> dict[str, Path]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            return self.configuration.prepare(self.scenario, self.layout, self.directory)
        except OSError as error:
            raise LabError(f"{self.directory}: the lab's files cannot be written there: {error}") from error

    def _await_listeners(self) -> None:
        """Until every edge can be called: a control plane may send listeners one after another."""
        until = time.monotonic() + START_TIMEOUT_S
        for edge in self.layout.edges:
            while not is_open(self.address, edge.port):
                self._require_alive()
                if time.monotonic() > until:
                    raise LabError(f"no Envoy listens on {self.address}:{edge.port} ({edge.name})")
                time.sleep(0.02)

    def _start_services(self) -> None:
        path = self.directory / "services.json"
        make_service_plan(self.scenario, self.layout).write(path)
        self._services = self._start_python("governor.lab.service", path, "services.log")

    def _start_generator(self) -> None:
        path = self.directory / "load.json"
        ports = {
            name: entry_edge(self.layout, self.scenario.api(name)).port for name in self.scenario.load.classes
        }
        LoadPlan(self.scenario, self.address, ports, self._output).write(path)
        self._generator = self._start_python("governor.lab.load", path, "load.log")

    def _start_python(self, module: str, argument: Path, log: str) -> Child:
        assert self._nursery is not None
        command = [sys.executable, "-m", module, str(argument)]
        child = self._nursery.start(command, self.directory / log, pipes=True)
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise LabError(f"{module} did not start:\n{tail(self.directory / log)}")
        return child

    def _schedule_faults(self, start: float) -> None:
        actions = [asdict(action) for action in replica_actions(self.scenario.faults)]
        request = urllib.request.Request(
            f"http://{self.address}:{self.layout.metrics_port}/faults",
            data=json.dumps({"start": start, "actions": actions}).encode(),
            method="POST",
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as response:
                response.read()
        except (urllib.error.URLError, OSError) as error:
            raise LabError(f"the services do not take their faults: {error}") from error


def _tell(child: Child, line: str) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(line + "\n")
        child.stdin.flush()
    except BrokenPipeError as error:
        raise LabError("the load generator is gone") from error


def _scrape_job(name: str, path: str, targets: list[str]) -> dict[str, Any]:
    return {
        "job_name": name,
        "metrics_path": path,
        "scrape_interval": "1s",
        "static_configs": [{"targets": targets}],
    }
