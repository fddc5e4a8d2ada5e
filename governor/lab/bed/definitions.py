"""Custom resource definitions as their projects publish them, read from the bed's own Go modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import ENVOY_GATEWAY, ISTIOD, module_directory

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def istio() -> list[Mapping[str, Any]]:
    """Istio's own."""
    return list(_read(module_directory(ISTIOD) / "manifests/charts/base/files/crd-all.gen.yaml"))


def gateway_api_and_envoy_gateway() -> list[Mapping[str, Any]]:
    """Gateway API's (experimental channel) and Envoy Gateway's."""
    charts = module_directory(ENVOY_GATEWAY) / "charts/gateway-crds-helm"
    return [d for path in sorted(charts.rglob("*.yaml")) for d in _read(path)]


def apply(bed: KubernetesBed, definitions: list[Mapping[str, Any]]) -> None:
    """Make the definitions known to the API server."""
    for definition in definitions:
        bed.apply(definition, f"{DEFINITIONS}/{definition['metadata']['name']}")


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if document and document.get("kind") == "CustomResourceDefinition":
            yield document
