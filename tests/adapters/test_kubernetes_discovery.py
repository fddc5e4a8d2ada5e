"""Which meshes are asked for a value, and how many proxies a service has."""

from __future__ import annotations

from typing import Any

from governor.adapters.kubernetes_discovery import endpoints, present, proxies_of
from governor.adapters.kubernetes_objects import ENDPOINT_SLICE, Ref, Snapshot
from governor.adapters.meshes.known import MESHES, meshes_called
from governor.adapters.meshes.mesh import service_of


def names(*installed: str, named: bool = False) -> list[str]:
    served = frozenset(kind for mesh in MESHES if mesh.name in installed for kind in mesh.kinds)
    return [mesh.name for mesh in present(MESHES, served, named=named)]


def test_the_general_api_gives_way_to_a_mesh_that_implements_it() -> None:
    assert names("linkerd", "gateway-api") == ["linkerd"]
    assert names("gateway-api") == ["gateway-api"]


def test_who_is_named_is_asked() -> None:
    assert names("linkerd", "gateway-api", named=True) == ["linkerd", "gateway-api"]


def test_both_of_istios_ways_are_asked() -> None:
    assert names("istio") == ["istio", "istio-ambient"]


def test_meshes_are_asked_in_their_order_whatever_the_order_of_their_names() -> None:
    assert [mesh.name for mesh in meshes_called(["knative", "istio"])] == ["istio", "knative"]


def slice_of(name: str, *endpoints: dict[str, Any]) -> tuple[Ref, dict[str, Any]]:
    labels = {"kubernetes.io/service-name": "api"}
    return Ref(ENDPOINT_SLICE, "shop", name), {"metadata": {"labels": labels}, "endpoints": list(endpoints)}


def test_a_pod_counts_once_whatever_its_address_families() -> None:
    pod = {"targetRef": {"uid": "u1"}, "addresses": ["10.0.0.1"]}
    away = {"targetRef": {"uid": "u2"}, "addresses": ["10.0.0.2"], "conditions": {"ready": False}}
    four, six = slice_of("four", pod, away), slice_of("six", {**pod, "addresses": ["fd00::1"]})
    counts = endpoints(Snapshot(dict([four, six])))
    assert counts == {("api", "shop"): 1}
    assert proxies_of(counts, service_of("api.shop.svc.cluster.local")) == 1
    assert proxies_of(counts, service_of("other.shop.svc.cluster.local")) == 1
    assert proxies_of(counts, None) == 1
