"""A Kubernetes API of one's own: etcd and kube-apiserver on loopback, without kubelets or controllers.

It judges, stores and watches as any cluster does; nothing runs what is declared. Namespaces are not deleted and
owned objects are not collected, for want of the controller manager.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from governor.errors import LabError
from governor.lab.bed.programs import API_SERVER, ETCD, binary
from governor.lab.envoy_process import tail
from governor.lab.processes import Child, Nursery, tied

ADDRESS = "127.0.0.1"
READY_S = 60.0
ADMIN = "admin"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@dataclass
class KubernetesBed:
    """etcd and an API server below `directory`; use it with `with`, or start() and stop().

    `users` are further names that get a token and no rights, for tests of what may be done with which role.
    """

    directory: Path
    users: tuple[str, ...] = ()
    tokens: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.tokens = {name: secrets.token_hex(16) for name in (ADMIN, *self.users)}
        self._nursery: Nursery | None = None
        self._server: Child | None = None
        self._etcd_port = free_port()

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://{ADDRESS}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """For the administrator; `kubeconfig_of` makes those of others."""
        return self.kubeconfig_of(ADMIN)

    def kubeconfig_of(self, user: str) -> Path:
        """A kubeconfig file for one of the users."""
        path = self.directory / f"{user}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self._certificates / "apiserver.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": user}}],
            "current-context": "bed",
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        path.chmod(0o600)
        return path

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start both and wait until the API server is ready; LabError with its last words if it is not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._nursery = Nursery()
        try:
            self._start_etcd(self._nursery)
            self._write_secrets()
            self.start_api_server()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both."""
        if self._nursery is not None:
            if self._server is not None and self._server.poll() is None:
                self._server.send_signal(signal.SIGCONT)
                self._server.kill()  # its graceful end waits a minute for watches; there is nothing to save
            self._nursery.close()
            self._nursery = self._server = None

    def start_api_server(self) -> None:
        """Start the API server (again), with all that etcd holds."""
        assert self._nursery is not None
        command = [
            str(binary(API_SERVER)),
            f"--etcd-servers=http://{ADDRESS}:{self._etcd_port}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={self.port}",
            f"--cert-dir={self._certificates}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.directory / 'service-account.key'}",
            f"--service-account-signing-key-file={self.directory / 'service-account.key'}",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/16",
        ]
        self._server = self._nursery.start(tied(command), self.directory / "kube-apiserver.log", pipes=False)
        self._await_ready()

    def stop_api_server(self) -> None:
        """End the API server at once; etcd goes on."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def pause_api_server(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def resume_api_server(self) -> None:
        """Let it go on after `pause_api_server`."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """One request as the administrator, without any client library; LabError with the server's words."""
        headers = {"Authorization": f"Bearer {self.tokens[ADMIN]}", "Content-Type": content}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - ours
        try:
            with self._opener().open(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise LabError(f"{method} {path}: {error.code}: {said[:2000]}") from error
        except OSError as error:
            raise LabError(f"{method} {path}: {error}") from error
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def apply(self, body: Mapping[str, Any], path: str) -> Any:
        """Server-side apply with force of one object at `path`."""
        return self.request("PATCH", f"{path}?fieldManager=bed&force=true", body, "application/apply-patch+yaml")

    def _opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context(cafile=str(self._certificates / "apiserver.crt"))
        https = urllib.request.HTTPSHandler(context=context)
        return urllib.request.build_opener(urllib.request.ProxyHandler({}), https)

    @property
    def _certificates(self) -> Path:
        return self.directory / "certificates"

    def _start_etcd(self, nursery: Nursery) -> None:
        peer = free_port()
        client = f"http://{ADDRESS}:{self._etcd_port}"
        command = [
            str(binary(ETCD)),
            "--unsafe-no-fsync",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls=http://{ADDRESS}:{peer}",
            f"--initial-advertise-peer-urls=http://{ADDRESS}:{peer}",
            f"--initial-cluster=default=http://{ADDRESS}:{peer}",
        ]
        nursery.start(tied(command), self.directory / "etcd.log", pipes=False)

    def _write_secrets(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        rows = [f"{token},{name},{name}" for name, token in self.tokens.items()]
        rows[0] += ',"system:masters"'
        (self.directory / "tokens.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        path = self.directory / "service-account.key"
        path.touch(0o600)
        path.write_bytes(key)

    def _await_ready(self) -> None:
        until = time.monotonic() + READY_S
        log = self.directory / "kube-apiserver.log"
        while time.monotonic() < until:
            assert self._server is not None
            if self._server.poll() is not None:
                raise LabError(f"kube-apiserver ended with {self._server.returncode}:\n{tail(log)}")
            with suppress(LabError, OSError):
                self.request("GET", "/readyz")
                return
            time.sleep(0.1)
        raise LabError(f"kube-apiserver was not ready after {READY_S:g} s:\n{tail(log)}")
