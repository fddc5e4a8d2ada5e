"""Queries to Prometheus and its kin, on prometheus-api-client, with every failure as one of our errors.

The library leaves some things open that a governor needs, so its `requests` session is ours: parameters of a
POST travel in its body instead of the address (whose length is limited), warnings of partial answers are kept
instead of dropped, and an answer is looked at before it is believed. Redirects are refused: they lead to login
pages.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from governor.adapters.network_errors import root_cause
from governor.errors import SourceError, SourceRefused, SourceUnreachable

Result = list[dict[str, Any]]
LONGEST_EXCERPT = 300
_ADVICE = {
    400: "it does not take the query",
    401: "check source.prometheus.bearer_token, bearer_token_file and headers",
    403: "check source.prometheus.bearer_token, bearer_token_file and headers (the tenant, for Mimir)",
    404: "there is no query API here: check the path of source.prometheus.url (Mimir has it under /prometheus)",
    408: "raise source.prometheus.timeout_s, or lighten its load",
    413: "a limit of a proxy before it is too low",
    422: "it cannot run the query; if that is too large, raise its --query.max-samples or use a shorter window",
    429: "it takes no more queries now: raise its limit of concurrent queries, or govern less often",
    503: "it is starting, overloaded or gave up on the query",
}


@dataclass(frozen=True)
class PrometheusOptions:
    """Where and how to ask; as `settings.source.prometheus`."""

    url: str
    dialect: str = "istio"
    timeout_s: float = 10.0
    bearer_token: str | None = field(default=None, repr=False)
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    insecure_skip_verify: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class PrometheusClient:
    """Instant and range queries at given times; safe to use from several threads."""

    def __init__(self, options: PrometheusOptions) -> None:
        self._options = options
        self._auth = _Bearer(options.bearer_token) if _has_token(options) else None
        self._session = _CheckedSession(options)
        retry = Retry(
            total=2,
            connect=1,
            read=False,  # a slow query that timed out would only be slow once more
            redirect=False,
            status=1,
            other=0,
            backoff_factor=0.2,
            status_forcelist=(502, 503, 504),
            allowed_methods=None,  # POST too: a query changes nothing
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        self._connect = PrometheusConnect(
            url=options.url.rstrip("/"),
            headers=dict(options.headers),
            retry=retry,
            auth=self._auth,
            session=self._session,
            timeout=options.timeout_s,
            method="POST",
        )

    @property
    def name(self) -> str:
        """What messages call it: its address without a password."""
        return self._session.name

    def refresh_token(self) -> None:
        """Read the token's file anew; SourceRefused if it cannot be read."""
        path = self._options.bearer_token_file
        if path is None or self._auth is None:
            return
        try:
            self._auth.token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceRefused(f"source.prometheus.bearer_token_file {path} cannot be read: {error}") from error

    def query(self, promql: str, at: float | None = None) -> Result:
        """Rows of an instant query, at Prometheus' own time if `at` is None.

        Raises SourceUnreachable if there is no answer in time, SourceRefused for anything but a good one.
        """
        # The server gives up when nobody waits any more.
        params = {"timeout": f"{self._options.timeout_s:g}s"} | ({} if at is None else {"time": f"{at:.3f}"})
        rows: Result = self._connect.custom_query(promql, params=params)
        return rows

    def query_range(self, promql: str, start: int, end: int, step_s: float) -> Result:
        """Rows of a range query from `start` to `end`, whole seconds since the epoch; errors as `query`."""
        rows: Result = self._connect.custom_query_range(
            promql,
            start_time=datetime.fromtimestamp(start, UTC),
            end_time=datetime.fromtimestamp(end, UTC),
            step=f"{step_s:g}",
            params={"timeout": f"{self._options.timeout_s:g}s"},
        )
        return rows

    def take_warnings(self) -> tuple[str, ...]:
        """Warnings of the answers since the last call, each once."""
        found = tuple(dict.fromkeys(self._session.warnings))
        self._session.warnings.clear()
        return found

    def close(self) -> None:
        """Release connections."""
        self._connect.close()


class _Bearer(AuthBase):
    """Sets the token itself, so that neither .netrc nor a password in the address replaces it."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class _ReadAnswer(requests.Response):
    """A good answer whose JSON has been read and looked at, so that the library need not parse it again."""

    def __init__(self, document: Any) -> None:
        super().__init__()
        self.status_code = requests.codes.ok
        self._document = document

    def json(self, **_: Any) -> Any:
        return self._document


class _CheckedSession(requests.Session):
    """Posts forms, and gives back good answers only."""

    def __init__(self, options: PrometheusOptions) -> None:
        super().__init__()
        self.name = f"Prometheus at {_shown(options.url)}"
        self.warnings: list[str] = []
        self.trust_env = not _is_loopback(options.url)  # never to this machine through a proxy
        self.verify = str(options.ca_file) if options.ca_file else not options.insecure_skip_verify
        self._timeout_s = options.timeout_s
        if options.insecure_skip_verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in `requests`; SourceUnreachable or SourceRefused for anything but an answer to the query."""
        asked = kwargs.pop("params", None) or {}
        kwargs["data" if method == "POST" else "params"] = asked
        kwargs["allow_redirects"] = False
        try:
            answer = super().request(method, url, *args, **kwargs)
        except requests.RequestException as error:
            raise self._failure(error) from error
        except OSError as error:  # `requests` lets a CA file that is not there through as it is
            raise SourceRefused(f"{self.name}: {error}; check source.prometheus.ca_file") from error
        document = self._document(answer, asked.get("query", ""))
        self.warnings += _warnings(document)
        return _ReadAnswer(document)

    def _failure(self, error: requests.RequestException) -> SourceError:
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return SourceRefused(
                f"{self.name} broke off in the middle of its answer ({root_cause(error)}): is a proxy in between?"
            )
        if isinstance(error, requests.Timeout):
            return SourceUnreachable(
                f"{self.name} did not answer within {self._timeout_s:g} s: is it overloaded, or is a firewall in "
                "between? Raise source.prometheus.timeout_s, or lighten the queries by recording rules"
            )
        if isinstance(error, requests.exceptions.SSLError):
            return SourceUnreachable(
                f"{self.name}: its certificate does not hold ({root_cause(error)}); name the authority in "
                "source.prometheus.ca_file"
            )
        return SourceUnreachable(
            f"{self.name} cannot be reached ({root_cause(error)}): is it running, and is source.prometheus.url "
            "right?"
        )

    def _document(self, answer: requests.Response, query: str) -> Any:
        status = answer.status_code
        if answer.is_redirect or 300 <= status < 400:
            target = answer.headers.get("location", "elsewhere")
            raise SourceRefused(
                f"{self.name} sends us to {_shown(target)}, a login page or another scheme: "
                "give the address behind it in source.prometheus.url, or a token"
            )
        if status != requests.codes.ok:
            advice = _ADVICE.get(status, "see its log")
            raise SourceRefused(f"{self.name} answers {status} ({_said(answer)}): {advice}; query: {query}")
        body = answer.content.lstrip()
        if body[:1] == b"<":
            raise SourceRefused(
                f"{self.name} answers with HTML, not with the query API: is source.prometheus.url the address "
                "of a login page, a proxy or another program?"
            )
        try:
            document = json.loads(body)
        except ValueError as error:
            raise SourceRefused(
                f"{self.name} sent half an answer or none that is JSON ({error}): is a proxy in between? "
                f"query: {query}"
            ) from error
        _require_result(document, self.name, query, str(answer.url))
        return document


def _require_result(document: Any, name: str, query: str, url: str) -> None:
    """SourceRefused unless `document` holds rows of the type that `query` asks for."""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or document.get("status") != "success":
        said = document.get("error", "no data") if isinstance(document, dict) else "no object"
        raise SourceRefused(
            f"{name} answers with JSON that is no query result ({said}): check source.prometheus.url; "
            f"query: {query}"
        )
    wanted = "matrix" if url.endswith("/query_range") or query.endswith("]") else "vector"
    given = data.get("resultType")
    if given != wanted or not isinstance(data.get("result"), list):
        raise SourceRefused(
            f"{name} answers with a {given} where a {wanted} was asked for: is it Prometheus, Thanos, Mimir or "
            f"VictoriaMetrics? query: {query}"
        )


def _warnings(document: Mapping[str, Any]) -> list[str]:
    """What the answer says about itself; remarks on the wording of a query are not about its completeness."""
    said = [*(document.get("warnings") or []), *(document.get("infos") or [])]
    return [str(text) for text in said if not str(text).startswith("PromQL info")]


def _said(answer: requests.Response) -> str:
    """The error in the server's own words, cut short."""
    try:
        text = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = "a page of HTML" if answer.text.lstrip()[:1] == "<" else answer.text.strip() or str(answer.reason)
    return text[:LONGEST_EXCERPT]


def _has_token(options: PrometheusOptions) -> bool:
    return bool(options.bearer_token or options.bearer_token_file)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _shown(url: str) -> str:
    """`url` without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")).rstrip("/")
