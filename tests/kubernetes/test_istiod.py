"""istiod's own webhook judges what is written, dry runs included."""

from __future__ import annotations

from typing import Any

import pytest

from governor.errors import LabError
from governor.lab.bed.istiod import Istiod
from governor.lab.bed.kubernetes import KubernetesBed


def virtual_service(namespace: str, *weights: int) -> dict[str, Any]:
    route = [
        {"destination": {"host": "api", "subset": f"v{number}"}, "weight": weight}
        for number, weight in enumerate(weights, 1)
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {"hosts": ["api"], "http": [{"route": route}]},
    }


@pytest.mark.usefixtures("istiod")
def test_a_good_virtual_service_is_taken(bed: KubernetesBed, namespace: str) -> None:
    stored = bed.api.apply(virtual_service(namespace, 90, 10))
    assert [route["weight"] for route in stored["spec"]["http"][0]["route"]] == [90, 10]


@pytest.mark.usefixtures("istiod")
@pytest.mark.parametrize("suffix", ["", "&dryRun=All"])
def test_weights_that_are_all_zero_are_refused(bed: KubernetesBed, namespace: str, suffix: str) -> None:
    document = virtual_service(namespace, 0, 0)
    path = f"{bed.api.collection(document)}/api?fieldManager=test{suffix}"
    with pytest.raises(LabError, match="total destination weight = 0"):
        bed.api.request("PATCH", path, document, "application/apply-patch+yaml")


def test_while_istiod_is_away_its_kinds_cannot_be_written(
    bed: KubernetesBed, istiod: Istiod, namespace: str
) -> None:
    istiod.stop()
    try:
        with pytest.raises(LabError, match=r"failed calling webhook.*connection refused"):
            bed.api.apply(virtual_service(namespace, 1, 1))
    finally:
        istiod.start()
    assert bed.api.apply(virtual_service(namespace, 1, 1))["metadata"]["name"] == "api"
