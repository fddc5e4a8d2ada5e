"""What a scenario's objects have in common, whichever control plane they are for."""

from __future__ import annotations

from typing import Any

from governor.lab.bed.api import namespace
from governor.lab.documents import DataPlane, Scenario
from governor.lab.layout import dns
from governor.lab.through.configuration import MAY_EDIT, OWN_NAMESPACE

Document = dict[str, Any]


def unsupported(plane: DataPlane) -> list[str]:
    """Fields of a scenario's `data_plane` that no object is made from here."""
    wanted = {
        "static_rate_limit_rps": plane.static_rate_limit_rps is not None,
        "adaptive_concurrency": plane.adaptive_concurrency != "none",
    }
    return [name for name, asked in wanted.items() if asked]


def namespaces(scenario: Scenario) -> list[Document]:
    """The lab's and the governor's."""
    return [namespace(name) for name in (dns(scenario.name), OWN_NAMESPACE)]


def document(space: str, version: str, kind: str, name: str, spec: Document) -> Document:
    """An object of the lab: the governor may edit all of it."""
    metadata = {"name": name, "namespace": dns(space), "annotations": MAY_EDIT}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
