"""istiod on loopback, judging every write of Istio's kinds and serving stock Envoys over ADS.

Flags and environment: Istio, "pilot-discovery discovery" reference. No certificates are issued and no mutual TLS
is used: the lab's Envoys connect in plain text, and have none of Istio's own extensions.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from governor.errors import LabError
from governor.lab.bed.certificates import Authority
from governor.lab.bed.kubernetes import ADDRESS, KubernetesBed, free_port
from governor.lab.bed.programs import ISTIOD, binary
from governor.lab.envoy_process import tail
from governor.lab.processes import Child, Nursery, tied

READY_S = 60.0
NAMESPACE = "istio-system"
MESH: Mapping[str, Any] = {
    "enableAutoMtls": False,
    "trustDomain": "cluster.local",
    "defaultConfig": {"discoveryAddress": f"{ADDRESS}:15010"},
}
ENVIRONMENT = {
    "ENABLE_CA_SERVER": "false",
    "PILOT_CERT_PROVIDER": "none",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_DISABLE_MX_ALPN": "true",
    "PILOT_ENABLE_ALPHA_GATEWAY_API": "true",
    "XDS_AUTH": "false",
    "POD_NAMESPACE": NAMESPACE,
    "POD_NAME": "istiod-0",
    "CLUSTER_ID": "Kubernetes",
    "REVISION": "default",
}
WEBHOOK = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@dataclass
class Istiod:
    """istiod over the API server of `bed`; use it with `with`, or start() and stop()."""

    bed: KubernetesBed
    grpc_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    webhook_port: int = field(default_factory=free_port)
    monitoring_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._nursery: Nursery | None = None
        self._process: Child | None = None

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.bed.directory / "istiod"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it (again), wait until it is ready, let it judge writes; LabError with its last words if not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "mesh.yaml").write_text(yaml.safe_dump(dict(MESH)), encoding="utf-8")
        authority = Authority(self.directory)
        certificate, key = authority.server("istiod")
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self.bed.apply(namespace, f"/api/v1/namespaces/{NAMESPACE}")
        command = [
            str(binary(ISTIOD)),
            "discovery",
            f"--kubeconfig={self.bed.kubeconfig}",
            f"--meshConfig={self.directory / 'mesh.yaml'}",
            f"--grpcAddr={ADDRESS}:{self.grpc_port}",
            "--secureGRPCAddr=",
            f"--httpAddr={ADDRESS}:{self.http_port}",
            f"--httpsAddr={ADDRESS}:{self.webhook_port}",
            f"--tlsCertFile={certificate}",
            f"--tlsKeyFile={key}",
            f"--caCertFile={authority.path}",
            f"--monitoringAddr={ADDRESS}:{self.monitoring_port}",
            "--domain=cluster.local",
            "-n",
            NAMESPACE,
        ]
        settings = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        self._nursery = Nursery()
        log = self.directory / "istiod.log"
        self._process = self._nursery.start(tied(["/usr/bin/env", *settings, *command]), log, pipes=False)
        try:
            self._await_ready(log)
            self.bed.apply(self._webhook(authority.path), f"{WEBHOOK}/istiod")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; its webhook stays registered, so that writes it has to judge fail as they do in a cluster."""
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = self._process = None

    def synced(self) -> list[Mapping[str, Any]]:
        """What every connected proxy was sent and has acknowledged (`/debug/syncz`)."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{ADDRESS}:{self.http_port}/debug/syncz", timeout=5) as answer:
            found: list[Mapping[str, Any]] = json.loads(answer.read())
            return found

    def _await_ready(self, log: Path) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        until = time.monotonic() + READY_S
        while time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                raise LabError(f"istiod ended with {self._process.returncode}:\n{tail(log)}")
            try:
                with opener.open(f"http://{ADDRESS}:{self.http_port}/ready", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass  # not yet
            time.sleep(0.1)
        raise LabError(f"istiod was not ready after {READY_S:g} s:\n{tail(log)}")

    def _webhook(self, authority: Path) -> Mapping[str, Any]:
        groups = ["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"]
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "istiod"},
            "webhooks": [
                {
                    "name": "validation.istio.io",
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                    "timeoutSeconds": 5,
                    "clientConfig": {
                        "url": f"https://{ADDRESS}:{self.webhook_port}/validate",
                        "caBundle": base64.b64encode(authority.read_bytes()).decode(),
                    },
                    "rules": [
                        {
                            "operations": ["CREATE", "UPDATE"],
                            "apiGroups": groups,
                            "apiVersions": ["*"],
                            "resources": ["*"],
                        }
                    ],
                }
            ],
        }
