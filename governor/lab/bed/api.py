"""Requests to a Kubernetes API server with the standard library alone: what a lab and its tests need.

Source: Kubernetes API concepts, and Server-Side Apply.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from governor.errors import LabError

APPLY = "application/apply-patch+yaml"
MANAGER = "mesh-governor-lab"
TIMEOUT_S = 30.0
Document = Mapping[str, Any]


def namespace(name: str) -> dict[str, Any]:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@dataclass
class LabApi:
    """An API server as one user sees it."""

    url: str
    context: ssl.SSLContext
    token: str | None = None
    _resources: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)
    """Per apiVersion and kind: plural, and whether it lives in namespaces."""

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content: str = "application/json",
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """One request; the parsed answer (its text where that is no JSON).

        `body` is sent as it is when it is bytes, as JSON otherwise. Raises LabError with the server's words for
        answers that are errors (`404` and so on in the message), OSError where there is no answer.
        """
        headers = {"Content-Type": content, "Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - an API server
        https = urllib.request.HTTPSHandler(context=self.context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise LabError(f"{method} {path}: {error.code}: {_words(error.read())}") from error
        return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()

    def apply(self, document: Document, manager: str = MANAGER) -> Any:
        """Server-side apply with force of one object; the object as it is stored then."""
        name = document["metadata"]["name"]
        path = f"{self.collection(document)}/{name}?fieldManager={manager}&force=true&fieldValidation=Strict"
        return self.request("PATCH", path, document, APPLY)

    def get(self, document: Document) -> Any:
        """The stored object of the same kind, namespace and name."""
        return self.request("GET", f"{self.collection(document)}/{document['metadata']['name']}")

    def delete(self, document: Document) -> None:
        """Delete the object of the same kind, namespace and name."""
        self.request("DELETE", f"{self.collection(document)}/{document['metadata']['name']}")

    def collection(self, document: Document) -> str:
        """Path of the collection that an object belongs to, learned from the server's discovery."""
        version, kind = document["apiVersion"], document["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._resources:
            for resource in self.request("GET", root)["resources"]:
                if "/" not in resource["name"]:
                    self._resources[(version, resource["kind"])] = (resource["name"], resource["namespaced"])
        if (version, kind) not in self._resources:
            raise LabError(f"{self.url} knows no {kind} of {version}: is its definition installed?")
        plural, namespaced = self._resources[(version, kind)]
        if namespaced:
            return f"{root}/namespaces/{document['metadata'].get('namespace', 'default')}/{plural}"
        return f"{root}/{plural}"

    @classmethod
    def from_kubeconfig(cls, path: Path) -> LabApi:
        """As the current context of a kubeconfig file says: with a token or a client certificate.

        Raises LabError for a context that logs in in another way.
        """
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"]
        authority = _pem(cluster, "certificate-authority")
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        certificate, key = _pem(user, "client-certificate"), _pem(user, "client-key")
        if certificate is not None and key is not None:
            with tempfile.TemporaryDirectory() as home:
                file = Path(home) / "client.pem"
                file.touch(0o600)
                file.write_bytes(certificate + b"\n" + key)
                tls.load_cert_chain(file)
        elif "token" not in user:
            raise LabError(f"{path}: user {context['user']!r} has neither a token nor a client certificate")
        return cls(cluster["server"].rstrip("/"), tls, user.get("token"))


def _named(config: Document, part: str, name: str) -> Document:
    found: list[Document] = [entry for entry in config[part] if entry["name"] == name]
    if not found:
        raise LabError(f"the kubeconfig names no {name!r} among its {part}")
    return found[0]


def _pem(entry: Document, field_name: str) -> bytes | None:
    """What a field of a kubeconfig holds: in place (`-data`) or in a file."""
    if f"{field_name}-data" in entry:
        return base64.b64decode(entry[f"{field_name}-data"])
    return Path(entry[field_name]).read_bytes() if field_name in entry else None


def _words(answer: bytes) -> str:
    """The message of a Status, or the beginning of whatever was answered."""
    text = answer.decode(errors="replace")
    try:
        return str(json.loads(text)["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return text[:2000]
