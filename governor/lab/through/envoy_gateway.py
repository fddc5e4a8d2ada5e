"""A lab whose Envoys are configured by a real Envoy Gateway, from a real API server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from governor.errors import LabError
from governor.lab.bed import definitions
from governor.lab.bed.build import build
from governor.lab.bed.daemon import ADDRESS
from governor.lab.bed.envoy_gateway import EnvoyGateway
from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import ENVOY_GATEWAY, KUBERNETES
from governor.lab.documents import Scenario
from governor.lab.layout import Layout, dns, xds_directory
from governor.lab.through.configuration import HOME
from governor.lab.through.gateway_bootstrap import bootstrap
from governor.lab.through.gateway_objects import objects
from governor.lab.through.objects import unsupported
from governor.lab.xds_files import write_json


class EnvoyGatewayConfiguration:
    """etcd, an API server and Envoy Gateway below the lab's directory; one at a time on a machine."""

    home = (ADDRESS, HOME[1])
    """Endpoints must be names, and names below localhost are always this address."""

    def __init__(self) -> None:
        self._bed: KubernetesBed | None = None
        self._gateway: EnvoyGateway | None = None

    @property
    def bed(self) -> KubernetesBed:
        """The API server; only between `prepare` and `close`."""
        if self._bed is None:
            raise LabError("the lab's control plane is not running")
        return self._bed

    @property
    def gateway(self) -> EnvoyGateway:
        """The control plane, which can be stopped and started; only between `prepare` and `close`."""
        if self._gateway is None:
            raise LabError("the lab's control plane is not running")
        return self._gateway

    def scenario(self, scenario: Scenario) -> Scenario:
        """With an Envoy for each caller."""
        if found := unsupported(scenario.data_plane):
            raise LabError(
                f"{scenario.name}: data_plane.{found[0]} cannot be had through Envoy Gateway in the lab"
            )
        plane = scenario.data_plane.model_copy(update={"envoy_per_service": True})
        return scenario.model_copy(update={"data_plane": plane})

    def prepare(self, scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
        """Start all, apply the scenario's objects, and write what the Envoys need to ask Envoy Gateway."""
        if layout.address != ADDRESS:
            raise LabError(f"through Envoy Gateway a lab runs on {ADDRESS} only: give --address {ADDRESS}")
        build((*KUBERNETES, ENVOY_GATEWAY))
        self._bed = KubernetesBed(directory / "control-plane")
        self._bed.start()
        definitions.install(self._bed.api, [*definitions.gateway_api(), *definitions.envoy_gateway()])
        self._gateway = self._bed.envoy_gateway()
        self._gateway.start()
        for document in objects(scenario, layout):
            self._bed.api.apply(document)
        paths = {}
        for caller, port in layout.admin_ports.items():
            home = xds_directory(directory, caller)
            home.mkdir(parents=True, exist_ok=True)
            paths[caller] = home / "bootstrap.json"
            admin = (layout.address, port)
            write_json(
                paths[caller], bootstrap(dns(caller), dns(scenario.name), admin, self._gateway.proxy_files)
            )
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
        if self._gateway is not None:
            self._gateway.stop()
            self._gateway = None
        if self._bed is not None:
            self._bed.stop()
            self._bed = None
