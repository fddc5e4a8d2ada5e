"""A lab whose Envoys are configured by a real istiod, from a real API server."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from governor.errors import LabError
from governor.lab.bed import definitions
from governor.lab.bed.build import build
from governor.lab.bed.istiod import Istiod
from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import ISTIOD, KUBERNETES
from governor.lab.documents import Scenario
from governor.lab.layout import Layout, dns, xds_directory
from governor.lab.through.configuration import HOME
from governor.lab.through.istio_bootstrap import bootstrap
from governor.lab.through.istio_objects import objects
from governor.lab.through.objects import unsupported
from governor.lab.xds_files import write_json

PROXIES = ipaddress.ip_address("127.110.0.1")
"""Address that the first Envoy gives for its own; nobody listens there."""


class IstioConfiguration:
    """etcd, an API server and istiod below the lab's directory; `subsets`: routes split between replicas."""

    home = HOME

    def __init__(self, *, subsets: bool = False) -> None:
        self._subsets = subsets
        self._bed: KubernetesBed | None = None
        self._istiod: Istiod | None = None

    @property
    def bed(self) -> KubernetesBed:
        """The API server; only between `prepare` and `close`."""
        if self._bed is None:
            raise LabError("the lab's control plane is not running")
        return self._bed

    @property
    def istiod(self) -> Istiod:
        """The control plane, which can be stopped and started; only between `prepare` and `close`."""
        if self._istiod is None:
            raise LabError("the lab's control plane is not running")
        return self._istiod

    def scenario(self, scenario: Scenario) -> Scenario:
        """With an Envoy for each caller."""
        if found := unsupported(scenario.data_plane):
            raise LabError(
                f"{scenario.name}: data_plane.{found[0]} cannot be had through istiod: Istio has no field for it"
            )
        plane = scenario.data_plane.model_copy(update={"envoy_per_service": True})
        return scenario.model_copy(update={"data_plane": plane})

    def prepare(self, scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
        """Start all, apply the scenario's objects, and write what the Envoys need to ask istiod."""
        build((*KUBERNETES, ISTIOD))
        self._bed = KubernetesBed(directory / "control-plane")
        self._bed.start()
        definitions.install(self._bed.api, definitions.istio())
        self._istiod = self._bed.istiod()
        self._istiod.start()
        for document in objects(scenario, layout, subsets=self._subsets):
            self._bed.api.apply(document)
        paths = {}
        for number, (caller, port) in enumerate(layout.admin_ports.items()):
            home = xds_directory(directory, caller)
            home.mkdir(parents=True, exist_ok=True)
            paths[caller] = home / "bootstrap.json"
            content = bootstrap(
                dns(caller),
                dns(scenario.name),
                str(PROXIES + number),
                (layout.address, port),
                self._istiod.grpc_port,
            )
            write_json(paths[caller], content)
        return paths

    @property
    def kubeconfig(self) -> Path | None:
        """Of the administrator of the lab's API server."""
        return self.bed.kubeconfig

    def describe(self) -> Sequence[str]:
        """How to reach the API server."""
        return (f"cluster   KUBECONFIG={self.bed.kubeconfig}",)

    def close(self) -> None:
        """End all."""
        if self._bed is not None:
            self._bed.stop()
            self._bed = self._istiod = None
