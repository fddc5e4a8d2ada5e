"""istiod on loopback, judging every write of Istio's kinds and serving stock Envoys over ADS.

No certificates are issued and no mutual TLS is used: the lab's Envoys connect in plain text, and have none of
Istio's own extensions. Source of flags and environment: Istio, reference of `pilot-discovery`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from governor.lab.bed.api import LabApi, namespace
from governor.lab.bed.certificates import Authority
from governor.lab.bed.daemon import ADDRESS, DOMAIN, Daemon, Startable, answers, free_port
from governor.lab.bed.programs import ISTIOD
from governor.lab.processes import Nursery

NAMESPACE = "istio-system"
VERSION = "1.31.0"
"""What proxies say their version is."""
MESH: Mapping[str, Any] = {"enableAutoMtls": False, "trustDomain": DOMAIN}
ENVIRONMENT = {
    "ENABLE_CA_SERVER": "false",
    "PILOT_CERT_PROVIDER": "none",
    # A stock Envoy has none of the extensions that these would send it.
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
GROUPS = ("extensions.istio.io", "networking.istio.io", "security.istio.io", "telemetry.istio.io")


class Istiod(Startable):
    """istiod over one API server; use it with `with`, or start() and stop(), as often as wanted.

    After `stop` its webhook stays registered and fails closed, as in a cluster: writes that it has to judge are
    refused until it is back. `unregister` takes it away.
    """

    def __init__(self, api: LabApi, kubeconfig: Path, directory: Path, nursery: Nursery) -> None:
        self._api = api
        self.grpc_port, self.http_port, self.webhook_port, self.monitoring_port = (free_port() for _ in range(4))
        directory.mkdir(parents=True, exist_ok=True)
        self._authority = Authority(directory)
        certificate, key = self._authority.server("istiod")
        mesh = directory / "mesh.yaml"
        mesh.write_text(yaml.safe_dump(dict(MESH)), encoding="utf-8")
        arguments = [
            "discovery",
            f"--kubeconfig={kubeconfig}",
            f"--meshConfig={mesh}",
            f"--grpcAddr={ADDRESS}:{self.grpc_port}",
            "--secureGRPCAddr=",
            f"--httpAddr={ADDRESS}:{self.http_port}",
            f"--httpsAddr={ADDRESS}:{self.webhook_port}",
            f"--tlsCertFile={certificate}",
            f"--tlsKeyFile={key}",
            f"--caCertFile={self._authority.path}",
            f"--monitoringAddr={ADDRESS}:{self.monitoring_port}",
            f"--domain={DOMAIN}",
            f"--namespace={NAMESPACE}",
        ]
        self.process = Daemon(
            ISTIOD,
            nursery,
            arguments,
            directory,
            lambda: answers(f"http://{ADDRESS}:{self.http_port}/ready"),
            ENVIRONMENT,
        )

    def __exit__(self, *reason: object) -> None:
        super().__exit__(*reason)
        self.unregister()

    def start(self) -> None:
        """Start it (again), wait until it is ready, and let it judge writes; LabError if it does not start."""
        self._api.apply(namespace(NAMESPACE))
        self.process.start()
        self._api.apply(self._webhook())

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def unregister(self) -> None:
        """Let writes of Istio's kinds pass unjudged."""
        self._api.delete(self._webhook())

    def _webhook(self) -> Mapping[str, Any]:
        bundle = base64.b64encode(self._authority.path.read_bytes()).decode()
        hook = {
            "name": "validation.istio.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "clientConfig": {"url": f"https://{ADDRESS}:{self.webhook_port}/validate", "caBundle": bundle},
            "rules": [
                {
                    "operations": ["CREATE", "UPDATE"],
                    "apiGroups": list(GROUPS),
                    "apiVersions": ["*"],
                    "resources": ["*"],
                }
            ],
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "istiod-default-validator"},
            "webhooks": [hook],
        }
