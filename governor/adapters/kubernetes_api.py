"""The Kubernetes API as the governor uses it: plain JSON objects in and out, and errors in the governor's words.

Works for every kind alike, custom resources or not, and forwards `fieldValidation`, which the client library's
dynamic client does not. Reads are tried again where the server asks for it; writes never are, except where it
says that it did not look at them (429).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from governor.adapters.kubernetes_errors import ObjectGone, explained
from governor.adapters.kubernetes_objects import Body, Found, Kind, Ref
from governor.adapters.network_errors import root_cause
from governor.errors import ControlPlaneError, WriteUnconfirmed

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
PAGE = 500
TIMEOUT_S = (3.0, 10.0)
TRIES = 4
LONGEST_PAUSE_S = 5.0
NOT_LOOKED_AT = 429
TRY_AGAIN = frozenset({NOT_LOOKED_AT, 500, 502, 503, 504})


class RateBudget:
    """A token bucket on the client's side: at most `per_second` requests on average, `burst` at once."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate, self._burst = per_second, float(burst)
        self._tokens, self._at = float(burst), time.monotonic()

    def take(self) -> None:
        """Wait until a request may go."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - 1.0
        self._at = now
        if self._tokens < 0.0:
            time.sleep(-self._tokens / self._rate)


class KubernetesApi:
    """Requests to one API server, within a budget."""

    def __init__(
        self,
        client: ApiClient,
        budget: RateBudget | None = None,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        tries: int = TRIES,
        write_s: float | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """Seconds and numbers at most: waits for the connection and for the answer, requests for one purpose.

        `write_s`: how long one request that writes may take in all, where that is less; the server is told, so
        that it gives up as well. `fence` is called before each of them, repeated ones too, and may raise.
        """
        self._client = client
        self._budget = budget or RateBudget(50.0, 100)
        self._timeout_s, self._tries, self._write_s, self._fence = timeout_s, tries, write_s, fence
        self.requests = 0
        """Requests sent so far."""

    @property
    def host(self) -> str:
        """Address of the API server."""
        return str(self._client.configuration.host)

    def get(self, ref: Ref) -> Body:
        """The object; ObjectGone if there is none."""
        return self._read(_address(ref.kind, ref.namespace, ref.name), str(ref))

    def list_of(self, kind: Kind, namespace: str | None = None, selector: str = "") -> Iterator[Found]:
        """All objects of one kind, page by page; ObjectGone if the kind is not installed."""
        query: dict[str, Any] = {"limit": PAGE}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = self._read(_address(kind, namespace), f"{kind.plural} of {kind.api_version}", query)
            for item in page.get("items") or ():
                # Items of a list do not say what they are.
                body = {"apiVersion": kind.api_version, "kind": kind.kind, **item}
                metadata = item["metadata"]
                yield Ref(kind, metadata.get("namespace", ""), metadata["name"]), body
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query = {**query, "continue": token}

    def served(self, group: str, version: str) -> frozenset[str]:
        """Plural names of what the server has in this group and version; empty if it has neither."""
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            found = self._read(path, path)
        except ObjectGone:
            return frozenset()
        return frozenset(r["name"] for r in found.get("resources") or () if "/" not in r["name"])

    def apply(self, ref: Ref, body: Body, manager: str, *, force: bool = False, dry_run: bool = False) -> Body:
        """Server-side apply; FieldConflict naming the other managers if a field is theirs."""
        query = _writing(manager, dry_run=dry_run) | {"force": "true" if force else "false"}
        return self._write("PATCH", _address(ref.kind, ref.namespace, ref.name), str(ref), query, body, APPLY)

    def patch(self, ref: Ref, operations: list[dict[str, Any]], manager: str, *, dry_run: bool = False) -> Body:
        """JSON Patch (RFC 6902); ObjectChanged if one of its tests fails."""
        address = _address(ref.kind, ref.namespace, ref.name)
        return self._write("PATCH", address, str(ref), _writing(manager, dry_run=dry_run), operations, JSON_PATCH)

    def create(self, ref: Ref, body: Body, manager: str) -> Body:
        """Make an object; ObjectChanged if there is one of this name."""
        address = _address(ref.kind, ref.namespace)
        return self._write("POST", address, str(ref), _writing(manager, dry_run=False), body, "application/json")

    def replace(self, ref: Ref, body: Body, manager: str) -> Body:
        """Replace the object; ObjectChanged if it is not of the resourceVersion that `body` holds."""
        address = _address(ref.kind, ref.namespace, ref.name)
        query = _writing(manager, dry_run=False)
        return self._write("PUT", address, str(ref), query, body, "application/json")

    def delete(self, ref: Ref, uid: str = "") -> None:
        """Delete the object; with `uid` only that very one. Nothing to do if it is gone."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | ({"preconditions": {"uid": uid}} if uid else {})
        try:
            address = _address(ref.kind, ref.namespace, ref.name)
            self._write("DELETE", address, str(ref), {}, body, "application/json")
        except ObjectGone:
            return

    def _read(self, path: str, what: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        for attempt in range(1, self._tries + 1):
            try:
                return self._send("GET", path, what, query or {}, None, None)
            except _AgainLaterError as later:
                if attempt == self._tries:
                    raise later.error from later
                time.sleep(later.pause_s)
        raise AssertionError("the loop returns or raises")

    def _write(self, method: str, path: str, what: str, query: Mapping[str, Any], body: Any, kind: str) -> Body:
        for attempt in range(1, self._tries + 1):
            try:
                return self._send(method, path, what, query, body, kind)
            except _AgainLaterError as later:
                if later.status != NOT_LOOKED_AT or attempt == self._tries:
                    raise later.error from later
                time.sleep(later.pause_s)
        raise AssertionError("the loop returns or raises")

    def _send(
        self, method: str, path: str, what: str, query: Mapping[str, Any], body: Any, content: str | None
    ) -> dict[str, Any]:
        from urllib3.exceptions import HTTPError

        self._budget.take()
        self.requests += 1
        timeout_s = self._timeout_s
        if method != "GET":
            self._fence()
            if self._write_s is not None:
                timeout_s = (self._write_s / 4, self._write_s * 3 / 4)
                query = {**query, "timeout": f"{self._write_s * 3 / 4:.3f}s"}
        headers = {"Accept": "application/json"} | ({"Content-Type": content} if content else {})
        request = self._client.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            answer = self._client.call_api(*request, _request_timeout=timeout_s)
        except HTTPError as error:
            if method == "GET":
                raise ControlPlaneError(f"{what}: {self.host} does not answer: {root_cause(error)}") from error
            raise WriteUnconfirmed(
                f"{what}: {self.host} did not answer ({root_cause(error)}): whether it was written is not known"
            ) from error
        text: bytes = answer.read()  # type: ignore[no-untyped-call]
        if 200 <= answer.status < 300:
            found: dict[str, Any] = json.loads(text)
            return found
        refused = explained(what, method, answer.status, text)
        if answer.status in TRY_AGAIN:
            pause_s = _pause(answer.getheader("Retry-After"))  # type: ignore[no-untyped-call]
            raise _AgainLaterError(answer.status, pause_s, refused)
        raise refused


class _AgainLaterError(Exception):
    """The server cannot answer now."""

    def __init__(self, status: int, pause_s: float, error: ControlPlaneError) -> None:
        super().__init__(str(error))
        self.status, self.pause_s, self.error = status, pause_s, error


def _pause(header: str | None) -> float:
    try:
        return min(LONGEST_PAUSE_S, max(0.1, float(header or 0.2)))
    except ValueError:
        return 1.0


def _writing(manager: str, *, dry_run: bool) -> dict[str, str]:
    query = {"fieldManager": manager, "fieldValidation": "Strict"}
    return query | {"dryRun": "All"} if dry_run else query


def _address(kind: Kind, namespace: str | None = None, name: str = "") -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    within = f"/namespaces/{namespace}" if namespace and kind.namespaced else ""
    return f"{root}{within}/{kind.plural}" + (f"/{name}" if name else "")
