"""A lab whose Envoys are configured by a real istiod, from a real API server."""

from __future__ import annotations

import ipaddress

from governor.lab.bed import definitions
from governor.lab.bed.istiod import Istiod
from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import ISTIOD
from governor.lab.documents import Scenario
from governor.lab.layout import Layout, dns
from governor.lab.through.control_plane import ControlPlaneConfiguration
from governor.lab.through.istio_bootstrap import bootstrap
from governor.lab.through.istio_objects import objects
from governor.lab.through.objects import Document
from governor.lab.xds_files import Resource

PROXIES = ipaddress.ip_address("127.110.0.1")
"""Address that the first Envoy gives for its own; nobody listens there."""


class IstioConfiguration(ControlPlaneConfiguration[Istiod]):
    """etcd, an API server and istiod below the lab's directory; `subsets`: routes split between replicas."""

    program = ISTIOD
    refusal = "through istiod: Istio has no field for it"

    def __init__(self, *, subsets: bool = False) -> None:
        super().__init__()
        self._subsets = subsets

    def _definitions(self) -> list[definitions.Definition]:
        return definitions.istio()

    def _control_plane_over(self, bed: KubernetesBed) -> Istiod:
        return bed.istiod()

    def _objects(self, scenario: Scenario, layout: Layout) -> list[Document]:
        return objects(scenario, layout, subsets=self._subsets)

    def _bootstrap(self, scenario: Scenario, layout: Layout, caller: str) -> Resource:
        address = str(PROXIES + list(layout.admin_ports).index(caller))
        admin = (layout.address, layout.admin_ports[caller])
        return bootstrap(dns(caller), dns(scenario.name), address, admin, self.control_plane.grpc_port)
