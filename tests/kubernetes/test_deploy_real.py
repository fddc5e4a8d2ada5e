"""deploy/ on a real API server: every manifest is taken, and its roles are enough for what they are for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.adapters.kubernetes_access import WRITE
from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_events import EVENT, KubernetesEvents
from governor.adapters.kubernetes_images import LABEL
from governor.adapters.kubernetes_lease import KubernetesLeases, LeaseElector
from governor.adapters.kubernetes_objects import CONFIG_MAP
from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
from governor.adapters.meshes.istio import MESH
from governor.commands.check_access import check_access
from governor.errors import ControlPlaneError, LabError
from governor.knobs import InFlightCap, Knob
from governor.lab.bed.kubernetes import KubernetesBed
from governor.settings import LeadershipSettings
from tests.deploy.kustomize import OVERLAYS, Manifest, overlay, pod_templates, with_components
from tests.kubernetes.conftest import Cluster, pointing_nowhere
from tests.kubernetes.istio_shop import RULE, Shop

HOME = "mesh-governor"
CAP = InFlightCap(50, None)


def dry_run(bed: KubernetesBed, manifest: Manifest) -> Any:
    path = f"{bed.api.collection(manifest)}/{manifest['metadata']['name']}"
    query = "fieldManager=kubectl&force=true&fieldValidation=Strict&dryRun=All"
    return bed.api.request("PATCH", f"{path}?{query}", manifest, "application/apply-patch+yaml")


@pytest.fixture(scope="module")
def home(bed: KubernetesBed) -> str:
    """The governor's own namespace, as deploy/ makes it."""
    bed.api.apply(next(m for m in overlay("recommend") if m["kind"] == "Namespace"))
    return HOME


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", OVERLAYS)
def test_every_manifest_is_taken_by_the_api_server(bed: KubernetesBed, name: str) -> None:
    for manifest in overlay(name):
        stored = dry_run(bed, manifest)
        assert stored["metadata"]["name"] == manifest["metadata"]["name"]


@pytest.mark.usefixtures("home")
def test_every_component_is_taken_by_the_api_server(bed: KubernetesBed, tmp_path: Path) -> None:
    others = [mesh for mesh in WRITE if mesh != "istio"]
    manifests = with_components(tmp_path / "all", "enforce", *others, "monitoring", "retrain")
    for manifest in manifests:
        dry_run(bed, manifest)
    assert {"ServiceMonitor", "PrometheusRule"} <= {m["kind"] for m in manifests}


@pytest.mark.usefixtures("home")
def test_a_field_that_does_not_exist_would_be_refused(bed: KubernetesBed) -> None:
    manifest = json.loads(json.dumps(next(m for m in overlay("recommend") if m["kind"] == "Deployment")))
    manifest["spec"]["template"]["spec"]["containers"][0]["readonlyRootFilesystem"] = True
    with pytest.raises(LabError, match="readonlyRootFilesystem"):
        dry_run(bed, manifest)


def pod_of(template: Manifest, home: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": home, "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }


@pytest.mark.parametrize("name", ["mesh-governor", "mesh-governor-restore", "mesh-governor-retrain"])
def test_pod_security_of_the_namespace_lets_the_pods_in(bed: KubernetesBed, home: str, name: str) -> None:
    manifests = [*overlay("enforce"), *overlay("retrain")]
    pod = pod_of(pod_templates(manifests)[name], home)
    dry_run(bed, pod)
    pod["spec"] = {**pod["spec"], "hostNetwork": True}
    with pytest.raises(LabError, match='violates PodSecurity "restricted'):
        dry_run(bed, pod)


@pytest.fixture
def roles(bed: KubernetesBed, home: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """The roles of one overlay for users of the bed: `writer` as the governor, `stranger` as the restore job."""
    users = {"mesh-governor": "writer", "mesh-governor-restore": "stranger"}
    bound = [m for m in overlay(request.param) if m["kind"] in {"Role", "ClusterRole"}]
    for manifest in overlay(request.param):
        if manifest["kind"].endswith("RoleBinding"):
            user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User"}
            subjects = [user | {"name": users[s["name"]]} for s in manifest["subjects"]]
            bound.append(manifest | {"subjects": subjects})
    for manifest in bound:
        bed.api.apply(manifest)
    yield
    for manifest in bound:
        bed.api.delete(manifest)


def settings_file(bed: KubernetesBed, folder: Path, user: str, mode: str, **kubernetes: Any) -> Path:
    plane = {"kubeconfig": str(bed.kubeconfig_of(user)), "meshes": ["istio"], **kubernetes}
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"mode": mode, "plane": {"kind": "kubernetes", "kubernetes": plane}}))
    return path


def lines_of(text: str) -> dict[tuple[str, str], str]:
    """Verb and resource to what stands under `allowed`."""
    rows = [line.split() for line in text.splitlines()]
    return {(row[0], row[1]): row[3] for row in rows if len(row) > 4 and row[3] in {"yes", "NO"}}


@pytest.mark.parametrize("roles", ["recommend"], indirect=True)
@pytest.mark.usefixtures("roles")
def test_check_is_content_in_recommend_mode_and_names_what_enforce_lacks(
    bed: KubernetesBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_access(settings_file(bed, tmp_path, "writer", "recommend")) == 0
    rows = lines_of(capsys.readouterr().out)
    assert set(rows.values()) == {"yes"}
    assert ("list", "virtualservices.networking.istio.io") in rows
    assert check_access(settings_file(bed, tmp_path, "writer", "enforce")) == 1
    said = capsys.readouterr()
    rows = lines_of(said.out)
    assert rows["patch", "virtualservices.networking.istio.io"] == "NO"
    assert rows["update", "leases.coordination.k8s.io"] == "NO"
    assert rows["list", "virtualservices.networking.istio.io"] == "yes"
    assert f"{sum(a == 'NO' for a in rows.values())} of {len(rows)} rights lack" in said.err


@pytest.mark.parametrize("roles", ["enforce"], indirect=True)
@pytest.mark.usefixtures("roles")
def test_check_is_content_in_enforce_mode_with_the_roles_of_enforce(
    bed: KubernetesBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_access(settings_file(bed, tmp_path, "writer", "enforce")) == 0
    assert check_access(settings_file(bed, tmp_path, "writer", "enforce", namespaces=["shop", "other"])) == 0
    assert "shop" in capsys.readouterr().out


def test_check_without_any_right_says_no_to_all_of_it(
    bed: KubernetesBed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_access(settings_file(bed, tmp_path, "reader", "enforce")) == 1
    rows = lines_of(capsys.readouterr().out)
    assert len(rows) > 15
    assert set(rows.values()) == {"NO"}


def test_check_without_an_api_server_is_an_error_that_says_where_it_looked(
    bed: KubernetesBed, tmp_path: Path
) -> None:
    nowhere = pointing_nowhere(bed.kubeconfig, tmp_path)
    file = settings_file(bed, tmp_path, "reader", "recommend", kubeconfig=str(nowhere))
    with pytest.raises(ControlPlaneError, match=r"127\.0\.0\.1:1 does not answer"):
        check_access(file)


def api_of(bed: KubernetesBed, user: str, fence: Callable[[], None] = lambda: None) -> KubernetesApi:
    return KubernetesApi(api_client(bed.kubeconfig_of(user)), write_s=5.0, fence=fence)


@pytest.mark.parametrize("roles", ["enforce"], indirect=True)
@pytest.mark.usefixtures("roles")
def test_the_roles_are_enough_to_lead_to_write_and_to_give_everything_back(
    bed: KubernetesBed, cluster: Cluster, namespace: str, home: str
) -> None:
    shop = Shop(cluster, namespace)
    shop.owner_writes(shop.rule, RULE)
    options = PlaneOptions((MESH,), home, (namespace,))
    times = LeadershipSettings(lease_duration_s=2, renew_deadline_s=1.0, retry_period_s=0.2)
    elector = LeaseElector(KubernetesLeases(api_of(bed, "writer"), home, "test"), "one", times, running_clock())
    while not elector.held():
        elector.attempt()
    events = KubernetesEvents(api_of(bed, "writer"), "one")
    governor = KubernetesControlPlane(api_of(bed, "writer", elector.check), options, events.tell)
    governor.read(shop.index)
    governor.write(shop.edge, Knob.IN_FLIGHT_CAP, CAP)
    assert [ref for ref, _ in api_of(bed, "writer").list_of(CONFIG_MAP, home, f"{LABEL}=true")]
    assert [ref.namespace for ref, _ in shop.api.list_of(EVENT, namespace)] == [namespace]
    assert KubernetesLeases(api_of(bed, "stranger"), home, "test").get() is not None
    restore = KubernetesControlPlane(api_of(bed, "stranger"), options)
    assert len(restore.release()) == 1
    assert shop.spec(shop.rule) == RULE
    elector.close()


def running_clock() -> Callable[[], float]:
    """A clock that goes on by a tenth of a second whenever it is looked at."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    return clock
