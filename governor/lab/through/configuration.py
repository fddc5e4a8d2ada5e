"""What a lab asks of whoever configures its Envoys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from governor.lab.documents import Scenario
from governor.lab.envoy_config import write_envoy_files
from governor.lab.layout import Layout

HOME = ("127.0.77.1", 19000)


OWN_NAMESPACE = "mesh-governor"
"""The governor's, for its before-images."""
MAY_EDIT = {"mesh-governor.github.io/may-edit": "all"}
"""Annotation of a lab's objects: whoever runs a lab means to have it governed."""


class Configuration(Protocol):
    """Brings the Envoys of one lab their configuration."""

    @property
    def home(self) -> tuple[str, int]:
        """Address and first port of a lab for which neither was chosen."""

    def scenario(self, scenario: Scenario) -> Scenario:
        """The scenario as this configuration runs it; LabError if it asks for what cannot be had this way."""

    def prepare(self, scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
        """Bootstrap file per Envoy (`mesh`, or a caller); from then on an Envoy started with it is served.

        Raises LabError if the control plane does not start or refuses an object, OSError if a file cannot be
        written.
        """

    @property
    def kubeconfig(self) -> Path | None:
        """How to reach the cluster that the Envoys are configured from; None without one."""

    def describe(self) -> Sequence[str]:
        """What a user should know about it, line by line."""

    def close(self) -> None:
        """End what `prepare` started; may be called again."""


class FileConfiguration:
    """Files that Envoy watches; nothing else runs."""

    home = HOME

    def scenario(self, scenario: Scenario) -> Scenario:
        """As it is."""
        return scenario

    def prepare(self, scenario: Scenario, layout: Layout, directory: Path) -> dict[str, Path]:
        """Write them."""
        return write_envoy_files(scenario, layout, directory)

    @property
    def kubeconfig(self) -> Path | None:
        """There is no cluster."""
        return None

    def describe(self) -> Sequence[str]:
        """Nothing that the lab itself does not say."""
        return ()

    def close(self) -> None:
        """Nothing to end."""
