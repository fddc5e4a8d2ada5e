"""Manifests as people write them, at a real API server with istiod's webhook: governed and given back whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.adapters.kubernetes_edits import ABSENT, Edit, edited, in_list, value_at
from governor.adapters.kubernetes_objects import Ref
from governor.adapters.kubernetes_ownership import MAY_EDIT
from governor.adapters.meshes.istio import MESH
from governor.adapters.meshes.istio_objects import full_host
from governor.errors import ControlPlaneError

from .istio_cluster import Document, Governed, service, values

pytestmark = pytest.mark.usefixtures("istiod")
HERE = Path(__file__).resolve()
SHARED = Path(os.environ.get("SHARED_FOLDER", HERE.parents[3] / "shared")) / "manifests" / "istio"
KINDS = {"VirtualService", "DestinationRule", "EnvoyFilter", "Gateway"}
SERVICES = ("web", "istio-ingressgateway", "stock", "checkout", "cart", "search", "catalog")
CALLERS = ("web", "istio-ingressgateway")
USER = "kubectl-client-side-apply"


def rounds(path: Path) -> list[list[Document]]:
    """Istio's documents of one file; where a name comes again, the earlier objects are thought to be replaced."""
    found: list[list[Document]] = [[]]
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if not document or document.get("kind") not in KINDS or "istio.io" not in document["apiVersion"]:
            continue
        if "_err" in document:
            continue  # the API server refuses it: nobody has such an object
        key = (document["kind"], document["metadata"]["name"])
        if key in {(d["kind"], d["metadata"]["name"]) for d in found[-1]}:
            found.append([])
        found[-1].append(document)
    return [part for part in found if part]


OURS = rounds(HERE.parent / "manifests" / "istio.yaml")
OWN = [pytest.param(part, id=f"own-{n}") for n, part in enumerate(OURS)]
REAL = [
    pytest.param(part, id=f"{path.stem}-{n}")
    for path in sorted(SHARED.glob("*.yaml"))
    for n, part in enumerate(rounds(path))
] or [
    pytest.param(
        [], marks=pytest.mark.skip(reason="no folder of real manifests beside the checkout (SHARED_FOLDER)")
    )
]


def hosts_in(documents: Sequence[Document], namespace: str) -> dict[str, tuple[str, ...]]:
    """Every host that the documents lead to or set, with the subsets that they split it into."""
    found: dict[str, list[str]] = {}
    for document in documents:
        spec = document["spec"]
        if document["kind"] == "DestinationRule":
            found.setdefault(full_host(spec["host"], namespace), [])
        for entry in spec.get("http", ()) if document["kind"] == "VirtualService" else ():
            for route in entry.get("route", ()):
                to = route["destination"]
                subsets = found.setdefault(full_host(to["host"], namespace), [])
                if len(entry["route"]) > 1 and to.get("subset") and to["subset"] not in subsets:
                    subsets.append(to["subset"])
    return {host: tuple(subsets) for host, subsets in found.items()}


def apply_all(bed: Any, namespace: str, documents: Sequence[Document], may_edit: str) -> None:
    services = [service(name, namespace) for name in SERVICES]
    services[1]["spec"]["selector"] = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    for document in services:
        bed.api.apply(document)
    for document in documents:
        metadata = {**document["metadata"], "namespace": namespace}
        if may_edit:
            metadata["annotations"] = {
                **metadata.get("annotations", {}),
                MAY_EDIT: may_edit,
            }
        bed.api.apply({**document, "metadata": metadata}, manager=USER)


def write_everything(
    bed: Any, namespace: str, documents: Sequence[Document], *, twice: bool = True
) -> Iterator[tuple[Governed, list[str]]]:
    """Each host governed as each caller would, with all knobs; what was refused, and why."""
    for host, subsets in hosts_in(documents, namespace).items():
        for caller in CALLERS if any(d["kind"] == "Gateway" for d in documents) else CALLERS[:1]:
            governed = Governed(bed.kubeconfig, MESH, namespace, host, subsets, caller)
            reasons = []
            for knob, *both in values(subsets):
                for value in both if twice else both[:1]:
                    governed.plane.read(governed.index)
                    try:
                        governed.plane.write(governed.target(knob), knob, value)
                    except ControlPlaneError as error:
                        reasons.append(f"{knob.value}: {error}")
            assert not [why for why in reasons if "denied" in why or "invalid" in why], "refused by the server"
            yield governed, reasons


def given_back_by_hand(governed: Governed, now: dict[Ref, Document]) -> dict[Ref, Document]:
    """What the objects are with the governed leaves, and nothing else, as they were."""
    images = list(governed.plane._images)
    own = {image.ref for image in images if image.own}
    back = {ref: body for ref, body in now.items() if ref not in own}
    for image in images:
        if image.ref in back:
            edits = [Edit(leaf.path, leaf.before) for leaf in image.leaves if leaf.ours]
            edits += [Edit(leaf.path, leaf.before) for leaf in image.leaves if not leaf.ours]
            back[image.ref] = edited(back[image.ref], edits)
    return back


@pytest.mark.parametrize("documents", [*OWN, *REAL])
def test_governed_and_given_back(bed: Any, namespace: str, documents: list[Document]) -> None:
    apply_all(bed, namespace, documents, "all")
    original = Governed(bed.kubeconfig, MESH, namespace, "none").objects()
    assert len(original) == len(documents)
    for governed, _ in write_everything(bed, namespace, documents):
        now = governed.objects()
        assert given_back_by_hand(governed, now) == original
        assert governed.plane.release() is not None
        assert governed.objects() == original


@pytest.mark.parametrize("documents", [*OWN, *REAL])
def test_without_the_opt_in_only_free_leaves_change(bed: Any, namespace: str, documents: list[Document]) -> None:
    apply_all(bed, namespace, documents, "")
    original = Governed(bed.kubeconfig, MESH, namespace, "none").objects()
    for governed, _ in write_everything(bed, namespace, documents, twice=False):
        for image in governed.plane._images:
            for leaf in image.leaves if image.ref in original else ():
                if leaf.ours and leaf.before != leaf.ours[-1]:
                    free = value_at(original[image.ref], leaf.path) is ABSENT
                    assert free, f"{leaf} of {image.ref} is the user's"
                    assert not in_list(leaf.path)
        governed.plane.release()
        assert governed.objects() == original


def test_most_of_our_own_manifests_can_be_governed(bed: Any, namespace: str) -> None:
    """The tests above would pass if everything were refused: this is what is refused, and nothing else."""
    documents = [document for part in OURS for document in part]
    apply_all(bed, namespace, documents, "all")
    refused: dict[str, set[str]] = {}
    for governed, reasons in write_everything(bed, namespace, documents, twice=False):
        caller, host = (name.split(".")[0] for name in governed.edge.name.split("|"))
        refused[f"{caller} {host}"] = {reason.split(":")[0] for reason in reasons}
        governed.plane.release()
    pools = {"in-flight-cap", "connection-limits"}
    assert refused["web checkout"] == set()
    assert refused["web cart"] == set()
    assert refused["web stock"] == refused["istio-ingressgateway stock"] == {"rate-limit"}  # one of the user's
    assert refused["web search"] == pools  # those of a subset
    assert refused["web catalog"] == {*pools, "outlier-detection", "retries"}  # all those of a port
    assert refused["istio-ingressgateway search"] == {*pools, "timeout", "retries"}  # it has no route there
