"""Envoy Gateway on loopback, over an API server of the bed: it serves stock Envoys by ADS over mutual TLS.

Nobody runs the Deployments and Services that it makes, so a Gateway stays without an address (`Programmed: False,
AddressNotAssigned`); the lab starts the Envoys itself. Source: Envoy Gateway, reference of `envoy-gateway`.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from governor.errors import LabError
from governor.lab.bed.api import LabApi, namespace
from governor.lab.bed.daemon import ADDRESS, DOMAIN, Daemon, Startable, answers, free_port
from governor.lab.bed.programs import ENVOY_GATEWAY, binary
from governor.lab.processes import Nursery
from governor.lab.sockets import require_free

NAMESPACE = "envoy-gateway-system"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
CERTIFICATES = Path("/certs")
"""Where Envoy Gateway reads its own certificate; no flag moves it."""
MARK = ".mesh-governor-lab"
DISCOVERY_PORT = 18000
PORTS = (8081, 9443, DISCOVERY_PORT)
"""What it listens on, on every address; no flag moves them."""
CERTGEN_S = 60.0
CONFIGURATION: Mapping[str, Any] = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyGateway",
    "gateway": {"controllerName": CONTROLLER},
    "provider": {"type": "Kubernetes", "kubernetes": {"leaderElection": {"disable": True}}},
    "extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True},
    "logging": {"level": {"default": "warn"}},
    # Its own metrics would be on 19001 of every address, where labs have theirs.
    "telemetry": {"metrics": {"prometheus": {"disable": True}}},
}


class EnvoyGateway(Startable):
    """Envoy Gateway over one API server; use it with `with`, or start() and stop(), as often as wanted.

    Only one can run on a machine, for its ports and the folder of its certificate are fixed.
    """

    def __init__(self, api: LabApi, kubeconfig: Path, directory: Path, nursery: Nursery) -> None:
        self._api = api
        self.directory = directory
        self._holds_folder = False
        directory.mkdir(parents=True, exist_ok=True)
        self._configuration = directory / "envoy-gateway.yaml"
        # Its admin page would be on 19000, where labs have an Envoy's.
        admin = {"address": {"host": ADDRESS, "port": free_port()}}
        self._configuration.write_text(yaml.safe_dump({**CONFIGURATION, "admin": admin}), encoding="utf-8")
        self._environment = {
            "KUBECONFIG": str(kubeconfig),
            "ENVOY_GATEWAY_NAMESPACE": NAMESPACE,
            "KUBERNETES_CLUSTER_DOMAIN": DOMAIN,
        }
        self.process = Daemon(
            ENVOY_GATEWAY,
            nursery,
            ["server", "-c", str(self._configuration)],
            directory,
            lambda: answers(f"http://{ADDRESS}:8081/readyz"),
            self._environment,
        )

    @property
    def proxy_files(self) -> tuple[Path, Path, Path]:
        """What an Envoy shows to be served, after a start: certificate and key; and the authority it trusts."""
        return self.directory / "tls.crt", self.directory / "tls.key", self.directory / "ca.crt"

    def start(self) -> None:
        """Start it (again) and wait until it is ready; LabError if it cannot be started here, or does not."""
        require_free(ADDRESS, PORTS, "wait for it: only one Envoy Gateway can run on a machine")
        self._api.apply(namespace(NAMESPACE))
        self._make_certificates()
        self._holds_folder = True
        _write(_own_folder(), self._secret("envoy-gateway"))
        _write(self.directory, self._secret("envoy"))
        self.process.start()

    def stop(self) -> None:
        """End it, and take its certificate away."""
        self.process.stop()
        # Another's that still runs has its certificate there.
        if self._holds_folder and (CERTIFICATES / MARK).exists():
            self._holds_folder = False
            for file in CERTIFICATES.iterdir():
                file.unlink()
            CERTIFICATES.rmdir()

    def _make_certificates(self) -> None:
        command = [str(binary(ENVOY_GATEWAY)), "certgen", "--disable-topology-injector"]
        environment = {**os.environ, **self._environment}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=CERTGEN_S
        )
        if done.returncode != 0:
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            raise LabError(f"envoy-gateway certgen failed:\n{last}")

    def _secret(self, name: str) -> Mapping[str, bytes]:
        metadata = {"name": name, "namespace": NAMESPACE}
        found = self._api.get({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        return {key: base64.b64decode(value) for key, value in found["data"].items()}


def _own_folder() -> Path:
    """The folder of the certificate, made by us; LabError if it is another's or cannot be made."""
    try:
        CERTIFICATES.mkdir(exist_ok=True)
        strangers = [file.name for file in CERTIFICATES.iterdir()]
        if strangers and MARK not in strangers:
            raise LabError(
                f"Envoy Gateway reads its certificate from {CERTIFICATES}, which has another's {strangers[0]}"
            )
        (CERTIFICATES / MARK).touch()
    except OSError as error:
        raise LabError(
            f"Envoy Gateway reads its certificate from {CERTIFICATES}, which cannot be made here ({error}): run "
            "as a user who may, for example in a container"
        ) from error
    return CERTIFICATES


def _write(folder: Path, content: Mapping[str, bytes]) -> None:
    for name in ("tls.crt", "tls.key", "ca.crt"):
        path = folder / name
        path.touch(0o600)
        path.write_bytes(content[name])
