"""A real API server for the tests of this folder, with the definitions of every mesh; started once a session."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from governor.errors import LabError
from governor.lab.bed import definitions
from governor.lab.bed.api import LabApi
from governor.lab.bed.build import go_binary
from governor.lab.bed.daemon import ADDRESS
from governor.lab.bed.envoy_gateway import PORTS, EnvoyGateway
from governor.lab.bed.istiod import Istiod
from governor.lab.bed.kubernetes import KubernetesBed
from governor.lab.bed.programs import ENVOY_GATEWAY, ISTIOD, KUBERNETES, Program, missing
from governor.lab.sockets import require_free

HERE = Path(__file__).parent
OWN_CLUSTER = "TEST_KUBECONFIG"
"""Names the kubeconfig of a cluster to test against instead of the bed's API server."""
MUST_RUN = "E2E_MUST_RUN"
"""Set by scripts/e2e: what is missing fails the test instead of skipping it."""
USERS = ("reader", "writer", "stranger")


@dataclass(frozen=True)
class Cluster:
    """An API server that tests may write to."""

    kubeconfig: Path
    api: LabApi


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.kubernetes)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(180))  # the first one waits for the servers


def require(programs: tuple[Program, ...]) -> None:
    if lacking := missing(programs):
        names = ", ".join(program.name for program in lacking)
        reason = f"{names} not built yet: scripts/e2e builds what is missing"
    else:
        try:
            go_binary()  # the definitions are in Go modules
        except LabError as error:
            reason = str(error)
        else:
            return
    if os.environ.get(MUST_RUN):
        pytest.fail(reason)
    pytest.skip(reason)


def pointing_nowhere(kubeconfig: Path, folder: Path) -> Path:
    """A copy of a kubeconfig, with an address at which no server answers."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    copy = folder / "nowhere"
    copy.write_text(yaml.safe_dump(config))
    return copy


def gateway_ports_free(within_s: float = 60.0) -> None:
    """Waits until no other session of tests on this machine runs Envoy Gateway, whose ports are fixed."""
    until = time.monotonic() + within_s
    while True:
        try:
            require_free(ADDRESS, PORTS)
        except LabError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


def every_definition() -> list[definitions.Definition]:
    return [
        *definitions.istio(),
        *definitions.gateway_api(),
        *definitions.envoy_gateway(),
        *definitions.cilium(),
        *definitions.knative(),
        *definitions.read(sorted((HERE / "definitions").glob("*.yaml"))),
    ]


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesBed]:
    """The bed's own etcd and API server, which tests may stop and start again; every definition is installed."""
    require(KUBERNETES)
    with KubernetesBed(tmp_path_factory.mktemp("bed"), USERS) as running:
        definitions.install(running.api, every_definition())
        yield running


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The cluster that TEST_KUBECONFIG names, else the bed's; every definition is installed."""
    own = os.environ.get(OWN_CLUSTER)
    if own:
        api = LabApi.from_kubeconfig(Path(own))
        definitions.install(api, every_definition(), replace=False)
        return Cluster(Path(own), api)
    running: KubernetesBed = request.getfixturevalue("bed")
    return Cluster(running.kubeconfig, running.api)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own; it stays, for nobody deletes namespaces in the bed."""
    name = f"test-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
    cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture(scope="session")
def istiod(bed: KubernetesBed) -> Iterator[Istiod]:
    """istiod over the bed's API server; its webhook judges writes of Istio's kinds from then on."""
    require((ISTIOD,))
    with bed.istiod() as running:
        yield running


@pytest.fixture(scope="module")
def envoy_gateway(bed: KubernetesBed) -> Iterator[EnvoyGateway]:
    """Envoy Gateway over the bed's API server; one at a time on a machine, so it ends with the module."""
    require((ENVOY_GATEWAY,))
    gateway_ports_free()
    with bed.envoy_gateway() as running:
        yield running
