"""The bed's API server does what the tests of this folder build on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from governor.errors import LabError
from governor.lab.bed.kubernetes import KubernetesBed


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def traffic_split(namespace: str, **weight: int) -> dict[str, Any]:
    return {
        "apiVersion": "split.smi-spec.io/v1alpha4",
        "kind": "TrafficSplit",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {"service": "api", "backends": [{"service": "api-v1", **weight}]},
    }


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("networking.istio.io/v1", "VirtualService"),
        ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("gateway.networking.k8s.io/v1", "GRPCRoute"),
        ("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy"),
        ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
        ("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy"),
        ("policy.linkerd.io/v1beta3", "HTTPRoute"),
        ("linkerd.io/v1alpha2", "ServiceProfile"),
        ("split.smi-spec.io/v1alpha4", "TrafficSplit"),
        ("cilium.io/v2", "CiliumEnvoyConfig"),
        ("serving.knative.dev/v1", "Service"),
    ],
)
def test_every_mesh_kind_is_served(cluster: Any, version: str, kind: str) -> None:
    metadata = {"name": "x", "namespace": "default"}
    path = cluster.api.collection({"apiVersion": version, "kind": kind, "metadata": metadata})
    assert cluster.api.request("GET", path)["kind"] == f"{kind}List"


def test_the_schema_of_a_definition_is_held(cluster: Any, namespace: str) -> None:
    stored = cluster.api.apply(traffic_split(namespace, weight=90))
    assert stored["spec"]["backends"] == [{"service": "api-v1", "weight": 90}]
    with pytest.raises(LabError, match=r"422.*backends\[0\].weight: Required"):
        cluster.api.apply(traffic_split(namespace))


def test_rules_in_cel_are_held(cluster: Any, namespace: str) -> None:
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "api", "namespace": namespace},
        "spec": {"rules": [{"timeouts": {"request": "1s", "backendRequest": "2s"}}]},
    }
    with pytest.raises(LabError, match="backendRequest timeout cannot be longer than request timeout"):
        cluster.api.apply(route)


def test_another_manager_of_a_field_is_a_conflict(cluster: Any, namespace: str) -> None:
    cluster.api.apply(config_map(namespace, "shared", key="first"), manager="first")
    path = f"/api/v1/namespaces/{namespace}/configmaps/shared?fieldManager=second"
    body = config_map(namespace, "shared", key="second")
    with pytest.raises(LabError, match=r'409.*conflict with "first"'):
        cluster.api.request("PATCH", path, body, "application/apply-patch+yaml")


def test_users_may_do_what_their_role_says_and_no_more(bed: KubernetesBed, namespace: str) -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "look", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "look", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "look"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    }
    bed.api.apply(config_map(namespace, "plain", key="value"))
    bed.api.apply(role)
    bed.api.apply(binding)
    assert bed.api_of("reader").get(config_map(namespace, "plain"))["data"] == {"key": "value"}
    with pytest.raises(LabError, match="403"):
        bed.api_of("reader").apply(config_map(namespace, "plain", key="other"))
    with pytest.raises(LabError, match="403"):
        bed.api_of("stranger").get(config_map(namespace, "plain"))


@contextlib.contextmanager
def api_server_back(bed: KubernetesBed) -> Iterator[None]:
    try:
        yield
    finally:
        if bed.api_server.process_id is None:
            bed.api_server.start()


def test_what_is_stored_outlives_the_api_server(bed: KubernetesBed, namespace: str) -> None:
    bed.api.apply(config_map(namespace, "lasting", key="value"))
    with api_server_back(bed):
        bed.api_server.stop()
        with pytest.raises(OSError, match="refused"):
            bed.api.get(config_map(namespace, "lasting"))
    assert bed.api.get(config_map(namespace, "lasting"))["data"] == {"key": "value"}


def test_a_paused_api_server_answers_once_it_goes_on(bed: KubernetesBed, namespace: str) -> None:
    bed.api.apply(config_map(namespace, "waiting", key="value"))
    bed.api_server.pause()
    try:
        with pytest.raises(OSError, match="timed out"):
            bed.api.request("GET", "/readyz", timeout_s=0.3)
    finally:
        bed.api_server.resume()
    assert bed.api.get(config_map(namespace, "waiting"))["data"] == {"key": "value"}
