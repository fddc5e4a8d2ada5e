"""Custom resource definitions as their projects publish them, read from their Go modules.

None is copied into this project: a definition is always that of the version which the go.mod files pin.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governor.errors import LabError
from governor.lab.bed.api import APPLY, MANAGER, LabApi
from governor.lab.bed.build import module_directory
from governor.lab.bed.programs import ENVOY_GATEWAY, ISTIOD, MODULES

COLLECTION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVED_S = 30.0
READ_ONLY = MODULES / "definitions"
_DOCUMENT = re.compile(r"^---.*$", re.MULTILINE)
_KIND = re.compile(r"^kind: CustomResourceDefinition\s*$", re.MULTILINE)
_NAME = re.compile(r"^metadata:\n(?:  .*\n)*?  name: \"?([a-z0-9.-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Definition:
    """One custom resource definition, as YAML."""

    name: str
    """`<plural>.<group>`."""
    text: str


def istio() -> list[Definition]:
    """Istio's own."""
    home = module_directory(ISTIOD.folder, "istio.io/istio")
    return read([home / "manifests/charts/base/files/crd-all.gen.yaml"])


def gateway_api(channel: str = "experimental") -> list[Definition]:
    """Gateway API's, of the channel `standard` or `experimental`, in the version that Envoy Gateway serves."""
    home = module_directory(ENVOY_GATEWAY.folder, "sigs.k8s.io/gateway-api") / "config/crd" / channel
    return read(path for path in sorted(home.glob("gateway.networking.*.yaml")) if "_vap_" not in path.name)


def envoy_gateway() -> list[Definition]:
    """Envoy Gateway's own."""
    home = module_directory(ENVOY_GATEWAY.folder, "github.com/envoyproxy/gateway")
    return read(sorted((home / "charts/gateway-helm/charts/crds/crds/generated").glob("*.yaml")))


def cilium() -> list[Definition]:
    """Cilium's Envoy configuration, of a namespace and of the cluster."""
    home = module_directory(READ_ONLY, "github.com/cilium/cilium") / "pkg/k8s/apis/cilium.io/client/crds/v2"
    return read([home / "ciliumenvoyconfigs.yaml", home / "ciliumclusterwideenvoyconfigs.yaml"])


def knative() -> list[Definition]:
    """Knative Serving's services, routes, configurations and revisions."""
    home = module_directory(READ_ONLY, "knative.dev/serving") / "config/core/300-resources"
    return read([home / f"{kind}.yaml" for kind in ("configuration", "revision", "route", "service")])


def read(paths: Iterable[Path]) -> list[Definition]:
    """The definitions in some YAML files; LabError for a file that holds none."""
    found: list[Definition] = []
    for path in paths:
        before = len(found)
        found += _split(path)
        if len(found) == before:
            raise LabError(f"{path} holds no CustomResourceDefinition")
    return found


def install(api: LabApi, definitions: Iterable[Definition], *, replace: bool = True) -> None:
    """Make definitions known to the API server and wait until it serves them; LabError if it does not.

    Without `replace` those that are there already are left as they are.
    """
    wanted = list(definitions)
    if not replace:
        there = {item["metadata"]["name"] for item in api.request("GET", COLLECTION)["items"]}
        wanted = [definition for definition in wanted if definition.name not in there]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda definition: _apply(api, definition), wanted))
    until = time.monotonic() + SERVED_S
    while waiting := not_served(api):
        if time.monotonic() > until:
            raise LabError(f"not served after {SERVED_S:g} s: {', '.join(waiting)}")
        time.sleep(0.1)


def not_served(api: LabApi) -> list[str]:
    """Names of installed definitions whose objects cannot be asked for yet."""
    return [
        item["metadata"]["name"] for item in api.request("GET", COLLECTION)["items"] if not _served(api, item)
    ]


def _served(api: LabApi, item: Mapping[str, Any]) -> bool:
    """Is it established, and is its storage ready? The one does not imply the other."""
    conditions = item.get("status", {}).get("conditions") or ()
    if not any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
        return False
    spec = item["spec"]
    version = next(version["name"] for version in spec["versions"] if version["served"])
    try:
        api.request("GET", f"/apis/{spec['group']}/{version}/{spec['names']['plural']}?limit=1")
    except LabError:
        return False  # 404 or 429 until it is
    return True


def _apply(api: LabApi, definition: Definition) -> None:
    path = f"{COLLECTION}/{definition.name}?fieldManager={MANAGER}&force=true"
    api.request("PATCH", path, definition.text.encode(), APPLY)


def _split(path: Path) -> Iterator[Definition]:
    # The API server reads YAML faster than Python does: the text goes there as it is.
    for text in _DOCUMENT.split(path.read_text(encoding="utf-8")):
        if _KIND.search(text):
            name = _NAME.search(text)
            if name is None:
                raise LabError(f"{path}: a CustomResourceDefinition without a name")
            yield Definition(name[1], text)
