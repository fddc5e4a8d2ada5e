"""What deploy/ asks of a cluster: pods that may do nothing but govern, and rights as the table of access says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from governor.adapters.kubernetes_access import (
    CLUSTER_WIDE,
    WRITE,
    Right,
    to_keep_images,
    to_lead,
    to_read,
    to_restore,
    to_see_images,
    to_tell,
    to_write,
)
from governor.adapters.meshes.known import MESHES
from governor.adapters.meshes.mesh import Mesh
from governor.policy import load_policies
from governor.settings import RunMode
from governor.settings_sources import load_settings
from tests.deploy.kustomize import DEPLOY, OVERLAYS, Manifest, one, overlay, pod_templates, with_components

GOVERNOR, RESTORE = "mesh-governor", "mesh-governor-restore"
Granted = set[tuple[str, str, str, bool]]


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return overlay(request.param)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The overlay enforce with every component there is."""
    others = [mesh for mesh in WRITE if mesh != "istio"]
    return with_components(tmp_path_factory.mktemp("deploy") / "all", "enforce", *others, "monitoring", "retrain")


def granted(manifests: list[Manifest], account: str) -> Granted:
    """(group, resource, verb, only at home) of all roles that are bound to `account`."""
    found: Granted = set()
    for binding in manifests:
        if not binding["kind"].endswith("RoleBinding"):
            continue
        if [s["name"] for s in binding["subjects"]] != [account]:
            continue
        role = one(manifests, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for rule in role["rules"]:
            assert set(rule) == {"apiGroups", "resources", "verbs"}
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        found.add((group, resource, verb, role["kind"] == "Role"))
    return found


def table(*rights: Right) -> Granted:
    return {(right.group, right.resource, right.verb, right.at_home) for right in rights}


def test_recommend_may_read_what_the_table_says_and_nothing_more() -> None:
    assert granted(overlay("recommend"), GOVERNOR) == table(*to_read(WRITE), *to_see_images())


def test_enforce_adds_one_mesh_the_lease_events_and_what_is_kept() -> None:
    wanted = table(
        *to_read(WRITE), *to_see_images(), *to_write("istio"), *to_tell(), *to_keep_images(), *to_lead()
    )
    assert granted(overlay("enforce"), GOVERNOR) == wanted


def test_the_restore_job_may_give_back_and_nothing_more() -> None:
    assert granted(overlay("enforce"), RESTORE) == table(*to_restore(["istio"]))


def test_every_mesh_has_a_component_with_the_rights_of_the_table(everything: list[Manifest]) -> None:
    writes = [right for mesh in WRITE for right in to_write(mesh)]
    common = [*to_read(WRITE), *to_see_images(), *to_tell(), *to_keep_images(), *to_lead()]
    assert granted(everything, GOVERNOR) == table(*common, *writes)
    assert granted(everything, RESTORE) == table(*to_restore(WRITE))


@pytest.mark.parametrize("mesh", MESHES, ids=lambda mesh: mesh.name)
def test_the_table_has_every_mesh_and_writes_only_what_is_read_and_services(mesh: Mesh) -> None:
    assert set(WRITE[mesh.name]) <= {(kind.group, kind.plural) for kind in mesh.kinds} | {("", "services")}


def test_what_is_in_no_namespace_is_asked_for_everywhere() -> None:
    names = {"namespaces", "gatewayclasses", "ciliumclusterwideenvoyconfigs"}
    assert {plural for _, plural in CLUSTER_WIDE} == names


def test_no_role_has_a_wildcard_or_secrets_or_may_pass_rights_on(everything: list[Manifest]) -> None:
    roles = [m for m in everything if m["kind"] in {"Role", "ClusterRole"}]
    assert len(roles) > 10
    for role in roles:
        for rule in role["rules"]:
            assert not {"*", "secrets", "pods/exec", "serviceaccounts/token"} & {*rule["resources"]}
            assert not {"*", "escalate", "bind", "impersonate", "deletecollection"} & {*rule["verbs"]}
            assert "*" not in rule["apiGroups"]


def test_only_the_governors_own_namespace_holds_its_configmaps_and_leases(everything: list[Manifest]) -> None:
    for role in (m for m in everything if m["kind"] == "ClusterRole"):
        resources = {resource for rule in role["rules"] for resource in rule["resources"]}
        assert not resources & {"configmaps", "leases"}


def test_every_pod_is_restricted_with_a_read_only_root(everything: list[Manifest]) -> None:
    templates = pod_templates(everything)
    assert set(templates) == {GOVERNOR, RESTORE, "mesh-governor-retrain"}
    for template in templates.values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in spec["containers"]:
            inner = container["securityContext"]
            assert inner["readOnlyRootFilesystem"] is True
            assert inner["allowPrivilegeEscalation"] is False
            assert inner["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_two_replicas_are_probed_and_one_of_them_stays_when_nodes_are_drained(manifests: list[Manifest]) -> None:
    deployment = one(manifests, "Deployment", GOVERNOR)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 2
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    budget = one(manifests, "PodDisruptionBudget", GOVERNOR)["spec"]
    assert budget["minAvailable"] == 1
    assert budget["selector"] == deployment["spec"]["selector"]


def test_traffic_is_names_api_server_prometheus_and_metrics_only(manifests: list[Manifest]) -> None:
    policy = one(manifests, "NetworkPolicy", GOVERNOR)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [9480]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 6443, 9090}
    assert [rule for rule in policy["egress"] if "to" not in rule] == [
        {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}
    ]


@pytest.mark.parametrize(("name", "mode"), [("recommend", RunMode.RECOMMEND), ("enforce", RunMode.ENFORCE)])
def test_the_settings_that_are_mounted_are_valid(name: str, mode: RunMode, tmp_path: Path) -> None:
    manifests = overlay(name)
    (volume,) = (
        v
        for v in one(manifests, "Deployment", GOVERNOR)["spec"]["template"]["spec"]["volumes"]
        if v["name"] == "settings"
    )
    data = one(manifests, "ConfigMap", volume["configMap"]["name"])["data"]
    file = tmp_path / "settings.yaml"
    file.write_text(data["settings.yaml"])
    settings = load_settings(file, secrets_dir=None).settings
    assert (settings.mode, settings.plane.kind, settings.health.host) == (mode, "kubernetes", "0.0.0.0")
    assert settings.plane.kubernetes.namespace == volume["configMap"]["name"].rpartition("-settings")[0]
    assert all(knob.mode != "enforce" for p in load_policies(settings.policies) for knob in p.spec.knobs.values())


def test_every_component_is_named_where_a_user_looks_for_it() -> None:
    names = {path.name for path in (DEPLOY / "components").iterdir()}
    assert names == {*WRITE, "monitoring", "retrain"}
    text = "".join((DEPLOY / "overlays" / name / "kustomization.yaml").read_text() for name in OVERLAYS)
    assert [name for name in names if name not in text] == []


def test_the_image_without_a_target_has_no_scikit_learn() -> None:
    stages = (DEPLOY / "Containerfile").read_text().split("\nFROM ")
    last = stages[-1]
    assert last.startswith("bare AS run\n")
    assert "COPY --from=build /opt/governor" in last
    build = next(stage for stage in stages if stage.startswith("${PYTHON_IMAGE} AS build\n"))
    assert "[kubernetes,models]" in build
    extras = yaml.safe_load(
        "[" + next(line for line in build.splitlines() if "[kubernetes" in line).split("[")[1].split("]")[0] + "]"
    )
    assert not {"train", "dask", "dev"} & {*extras}
