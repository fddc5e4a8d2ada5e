"""Whether Envoy has taken a file: its admin interface tells the version in force for each subscription.

`version_text` of a subscription becomes the file's `version_info` once it is in force; `update_rejected` counts
what Envoy refused, `update_failure` what it could not parse. Source: Envoy, xDS subscription statistics.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from governor.errors import SourceRefused, SourceUnreachable

TIMEOUT_S = 2.0
POLL_S = 0.02
FIELDS = ("update_success", "update_rejected", "update_failure", "version_text")


@dataclass(frozen=True)
class Subscription:
    """One subscription of Envoy to a file: counters since its start, and the version in force."""

    success: int
    rejected: int
    failure: int
    version: str

    @property
    def refused(self) -> int:
        """Files that were not taken, for whatever reason."""
        return self.rejected + self.failure


Subscriptions = Mapping[str, Subscription]


class EnvoyAdmin:
    """Reads Envoy's admin interface; SourceUnreachable or SourceRefused if it does not answer as Envoy does."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # an admin address is never behind a proxy

    def get(self, path: str) -> str:
        """Body of one page."""
        return self._good(self._answer(path)).text

    def json(self, path: str) -> Any:
        """One page as parsed JSON."""
        return self._parsed(self._good(self._answer(path)))

    def json_if_any(self, path: str) -> Any | None:
        """As `json`; None where Envoy has no such part of its configuration, which it answers with 404."""
        answer = self._answer(path)
        return None if answer.status_code == requests.codes.not_found else self._parsed(self._good(answer))

    def _answer(self, path: str) -> requests.Response:
        try:
            return self._session.get(self.url + path, timeout=self._timeout_s)
        except requests.RequestException as error:
            raise SourceUnreachable(
                f"no Envoy answers at {self.url} ({type(error).__name__}): check that it runs and that this is "
                "its admin address"
            ) from error

    def _good(self, answer: requests.Response) -> requests.Response:
        if not answer.ok:
            raise SourceRefused(f"{answer.url} answers {answer.status_code}: is this Envoy's admin address?")
        return answer

    def _parsed(self, answer: requests.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise SourceRefused(f"{answer.url} is not JSON: is this Envoy's admin address?") from error

    def stats(self, pattern: str) -> dict[str, str]:
        """Statistics whose dotted name matches the regular expression `pattern`, by name."""
        page = self.get(f"/stats?filter={quote(pattern, safe='')}")
        pairs = (line.partition(": ") for line in page.splitlines())
        return {name: value for name, _, value in pairs}

    def subscriptions(self, scope: str) -> dict[str, Subscription]:
        """Subscriptions whose scope matches the regular expression `scope`, by scope."""
        found = self.stats(rf"^{scope}\.({'|'.join(FIELDS)})$")
        scopes = dict.fromkeys(name.rpartition(".")[0] for name in found)
        return {s: _subscription(found, s) for s in scopes}

    def await_update(
        self, scope: str, before: Subscriptions, version: str, timeout_s: float
    ) -> tuple[str, Subscriptions]:
        """Poll until every subscription in `before` shows `version` ("taken"), or one refused ("refused").

        "silent" after `timeout_s`. A version that is in force already counts once an update has gone through.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            now = self.subscriptions(scope)
            if any(s in before and sub.refused > before[s].refused for s, sub in now.items()):
                return "refused", now
            if before and all(s in now and _taken(now[s], before[s], version) for s in before):
                return "taken", now
            if time.monotonic() > deadline:
                return "silent", now
            time.sleep(POLL_S)

    def runtime(self) -> dict[str, str]:
        """Runtime keys and the values in force, all layers considered."""
        entries = self.json("/runtime").get("entries", {})
        return {key: str(entry.get("final_value", "")) for key, entry in entries.items()}


def _subscription(stats: Mapping[str, str], scope: str) -> Subscription:
    success, rejected, failure = (int(stats.get(f"{scope}.{field}", "0")) for field in FIELDS[:3])
    return Subscription(success, rejected, failure, stats.get(f"{scope}.version_text", "").strip('"'))


def _taken(now: Subscription, before: Subscription, version: str) -> bool:
    return now.version == version and (now.success > before.success or version != before.version)


def scope_of(kind: str, name: str) -> str:
    """Regular expression of the statistics scope of the subscription to resource `name`.

    Envoy writes `_` for the `:` of a name; a filter's name may have its dots written as `_`.
    """
    plain = re.escape(name.replace(":", "_"))
    dots = plain.replace(r"\.", "[._]")
    return {
        "rtds": "runtime",
        "eds": rf"cluster\.{plain}",
        "rds": rf"http\..+\.rds\.{plain}",
        "ecds": rf"extension_config_discovery\.http_filter\.{dots}",
    }[kind]
