"""A Kubernetes API of one's own: etcd and kube-apiserver on loopback, without kubelets or controllers.

It judges, stores and watches as any cluster does; nothing runs what is declared. Namespaces are not deleted and
owned objects are not collected, for want of the controller manager.
"""

from __future__ import annotations

import secrets
import shutil
import ssl
from pathlib import Path

import yaml

from governor.errors import LabError
from governor.lab.bed import definitions
from governor.lab.bed.api import LabApi
from governor.lab.bed.certificates import write_key
from governor.lab.bed.daemon import ADDRESS, Daemon, Startable, answers, free_port
from governor.lab.bed.envoy_gateway import EnvoyGateway
from governor.lab.bed.istiod import Istiod
from governor.lab.bed.programs import API_SERVER, ETCD
from governor.lab.processes import Nursery

ADMIN = "admin"


class KubernetesBed(Startable):
    """etcd and an API server below `directory`; use it with `with`, or start() and stop().

    `users` are further names that get a token and no rights, for tests of what may be done with which role.
    `api_server` and `etcd` can be stopped, started, paused and resumed one by one.
    """

    def __init__(self, directory: Path, users: tuple[str, ...] = ()) -> None:
        self.directory = directory.resolve()
        self.tokens = {name: secrets.token_hex(16) for name in (ADMIN, *users)}
        self.port = free_port()
        self.nursery: Nursery | None = None
        self._api_server: Daemon | None = None
        self._etcd: Daemon | None = None
        self._api: LabApi | None = None

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://{ADDRESS}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """File for the administrator; `kubeconfig_of` makes those of others."""
        return self.kubeconfig_of(ADMIN)

    @property
    def authority(self) -> Path:
        """Certificate (PEM) that the API server's is checked against."""
        return self.directory / "certificates" / "apiserver.crt"

    @property
    def api_server(self) -> Daemon:
        """The API server's process."""
        return _started(self._api_server)

    @property
    def etcd(self) -> Daemon:
        """The store's process."""
        return _started(self._etcd)

    @property
    def api(self) -> LabApi:
        """Requests as the administrator."""
        if self._api is None:
            self._api = self.api_of(ADMIN)
        return self._api

    def api_of(self, user: str) -> LabApi:
        """Requests as one of the users."""
        return LabApi(self.url, ssl.create_default_context(cafile=str(self.authority)), self.tokens[user])

    def kubeconfig_of(self, user: str) -> Path:
        """A kubeconfig file for one of the users."""
        path = self.directory / f"{user}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
            "current-context": "lab",
        }
        path.touch(0o600)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def start(self) -> None:
        """Start both, empty, and wait until the API server is ready; LabError with its last words if not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if (self.directory / "etcd").exists():
            shutil.rmtree(self.directory / "etcd")
        self._write_secrets()
        self.nursery = Nursery()
        store = free_port()
        self._etcd = self._etcd_on(store)
        self._api_server = self._api_server_over(store)
        try:
            self._etcd.start()
            self._api_server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything that was started in this bed."""
        if self.nursery is not None:
            for daemon in (self._api_server, self._etcd):
                if daemon is not None:
                    daemon.stop()
            self.nursery.close()
            self.nursery = None

    def istiod(self) -> Istiod:
        """An istiod over this API server, not started yet; Istio's definitions must be installed before it is."""
        nursery = self._running()
        return Istiod(self.api, self.kubeconfig, self.directory / "istiod", nursery)

    def envoy_gateway(self) -> EnvoyGateway:
        """An Envoy Gateway over this API server, not started yet; it needs the definitions of both APIs."""
        nursery = self._running()
        return EnvoyGateway(self.api, self.kubeconfig, self.directory / "envoy-gateway", nursery)

    def _running(self) -> Nursery:
        if self.nursery is None:
            raise LabError("the bed is not running")
        return self.nursery

    def _etcd_on(self, port: int) -> Daemon:
        client, peer = f"http://{ADDRESS}:{port}", f"http://{ADDRESS}:{free_port()}"
        arguments = [
            "--unsafe-no-fsync",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]
        return Daemon(ETCD, self._running(), arguments, self.directory, lambda: answers(f"{client}/health"))

    def _api_server_over(self, store: int) -> Daemon:
        arguments = [
            f"--etcd-servers=http://{ADDRESS}:{store}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={self.port}",
            f"--cert-dir={self.authority.parent}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.directory / 'service-account.key'}",
            f"--service-account-signing-key-file={self.directory / 'service-account.key'}",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/16",
        ]
        # Its graceful end waits for watches for a minute; there is nothing to save.
        return Daemon(API_SERVER, self._running(), arguments, self.directory, self._serves, graceful=False)

    def _serves(self) -> bool:
        if not self.authority.exists():
            return False
        try:
            return self.api.request("GET", "/readyz") == "ok" and not definitions.not_served(self.api)
        except LabError:
            return False  # it answers, and says that it is not ready

    def _write_secrets(self) -> None:
        rows = [f"{token},{name},{name}" for name, token in self.tokens.items()]
        rows[0] += ',"system:masters"'
        tokens = self.directory / "tokens.csv"
        tokens.touch(0o600)
        tokens.write_text("\n".join(rows) + "\n", encoding="utf-8")
        write_key(self.directory / "service-account.key")


def _started(daemon: Daemon | None) -> Daemon:
    if daemon is None:
        raise LabError("the bed was never started")
    return daemon
