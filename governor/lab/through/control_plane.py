"""A lab whose Envoys are configured by a real control plane, from a real API server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from governor.errors import LabError
from governor.lab.bed.build import build
from governor.lab.bed.daemon import Startable
from governor.lab.bed.definitions import Definition, install
from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import KUBERNETES, Program
from governor.lab.documents import Scenario
from governor.lab.layout import Layout, xds_directory
from governor.lab.through.configuration import HOME
from governor.lab.through.objects import Document, unsupported
from governor.lab.xds_files import Resource, write_json

Plane = TypeVar("Plane", bound=Startable)


class ControlPlaneConfiguration(ABC, Generic[Plane]):
    """etcd, an API server and one control plane below the lab's directory; what differs is in its subclasses."""

    home = HOME
    program: ClassVar[Program]
    """The control plane's."""
    refusal: ClassVar[str]
    """What is said of a field of `data_plane` that cannot be had."""

    def __init__(self) -> None:
        self._bed: KubernetesBed | None = None
        self._control_plane: Plane | None = None

    @property
    def bed(self) -> KubernetesBed:
        """The API server; only between `prepare` and `close`."""
        return _running(self._bed)

    @property
    def control_plane(self) -> Plane:
        """What can be stopped and started; only between `prepare` and `close`."""
        return _running(self._control_plane)

    def scenario(self, scenario: Scenario) -> Scenario:
        """With an Envoy for each caller."""
        if found := unsupported(scenario.data_plane):
            raise LabError(f"{scenario.name}: data_plane.{found[0]} cannot be had {self.refusal}")
        plane = scenario.data_plane.model_copy(update={"envoy_per_service": True})
        return scenario.model_copy(update={"data_plane": plane})

    def prepare(self, scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
        """Start all, apply the scenario's objects, and write what the Envoys need to ask the control plane."""
        build((*KUBERNETES, self.program))
        self._bed = KubernetesBed(directory / "control-plane")
        self._bed.start()
        install(self._bed.api, self._definitions())
        self._control_plane = self._control_plane_over(self._bed)
        self._control_plane.start()
        for document in self._objects(scenario, layout):
            self._bed.api.apply(document)
        paths = {}
        for caller in layout.admin_ports:
            home = xds_directory(directory, caller)
            home.mkdir(parents=True, exist_ok=True)
            paths[caller] = home / "bootstrap.json"
            write_json(paths[caller], self._bootstrap(scenario, layout, caller))
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
        if self._control_plane is not None:
            self._control_plane.stop()
            self._control_plane = None
        if self._bed is not None:
            self._bed.stop()
            self._bed = None

    @abstractmethod
    def _definitions(self) -> list[Definition]:
        """Of the kinds that the control plane reads."""

    @abstractmethod
    def _control_plane_over(self, bed: KubernetesBed) -> Plane:
        """Not started yet."""

    @abstractmethod
    def _objects(self, scenario: Scenario, layout: Layout) -> list[Document]:
        """The scenario's, in the order in which they are to be applied."""

    @abstractmethod
    def _bootstrap(self, scenario: Scenario, layout: Layout, caller: str) -> Resource:
        """Of the caller's Envoy; the control plane is running."""


_Part = TypeVar("_Part")


def _running(part: _Part | None) -> _Part:
    if part is None:
        raise LabError("the lab's control plane is not running")
    return part
