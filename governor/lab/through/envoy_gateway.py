"""A lab whose Envoys are configured by a real Envoy Gateway, from a real API server."""

from __future__ import annotations

from pathlib import Path

from governor.errors import LabError
from governor.lab.bed import definitions
from governor.lab.bed.daemon import ADDRESS
from governor.lab.bed.envoy_gateway import EnvoyGateway
from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import ENVOY_GATEWAY
from governor.lab.documents import Scenario
from governor.lab.layout import Layout, dns
from governor.lab.through.configuration import HOME
from governor.lab.through.control_plane import ControlPlaneConfiguration
from governor.lab.through.gateway_bootstrap import bootstrap
from governor.lab.through.gateway_objects import objects
from governor.lab.through.objects import Document
from governor.lab.xds_files import Resource


class EnvoyGatewayConfiguration(ControlPlaneConfiguration[EnvoyGateway]):
    """etcd, an API server and Envoy Gateway below the lab's directory; one at a time on a machine."""

    home = (ADDRESS, HOME[1])
    """Endpoints must be names, and names below localhost are always this address."""
    program = ENVOY_GATEWAY
    refusal = "through Envoy Gateway in the lab"

    def prepare(self, scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
        """As the base does it; LabError on another address than the one that works."""
        if layout.address != ADDRESS:
            raise LabError(f"through Envoy Gateway a lab runs on {ADDRESS} only: give --address {ADDRESS}")
        return super().prepare(scenario, layout, directory)

    def _definitions(self) -> list[definitions.Definition]:
        return [*definitions.gateway_api(), *definitions.envoy_gateway()]

    def _control_plane_over(self, bed: KubernetesBed) -> EnvoyGateway:
        return bed.envoy_gateway()

    def _objects(self, scenario: Scenario, layout: Layout) -> list[Document]:
        return objects(scenario, layout)

    def _bootstrap(self, scenario: Scenario, layout: Layout, caller: str) -> Resource:
        admin = (layout.address, layout.admin_ports[caller])
        return bootstrap(dns(caller), dns(scenario.name), admin, self.control_plane.proxy_files)
