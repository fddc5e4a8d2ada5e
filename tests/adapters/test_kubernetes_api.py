"""Requests that write: how long they may take, and that leadership is looked at before each of them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_objects import CONFIG_MAP, Ref
from governor.errors import NotLeader

REF = Ref(CONFIG_MAP, "home", "one")


class FakeAnswer:
    def __init__(self, status: int) -> None:
        self.status = status

    def read(self) -> bytes:
        return json.dumps({"message": "too many requests"} if self.status != 200 else {"metadata": {}}).encode()

    def getheader(self, name: str) -> str:
        return "0.1"


class FakeClient:
    """Answers with the given statuses in turn, then with 200; keeps what was asked."""

    def __init__(self, *statuses: int) -> None:
        self.configuration = SimpleNamespace(host="https://fake")
        self.statuses = list(statuses)
        self.asked: list[tuple[str, dict[str, Any], tuple[float, float]]] = []

    def param_serialize(self, method: str, path: str, *, query_params: list[tuple[str, str]], **_: Any) -> Any:
        return method, dict(query_params)

    def call_api(
        self, method: str, query: dict[str, Any], *, _request_timeout: tuple[float, float]
    ) -> FakeAnswer:
        self.asked.append((method, query, _request_timeout))
        return FakeAnswer(self.statuses.pop(0) if self.statuses else 200)


def api(client: FakeClient, **more: Any) -> KubernetesApi:
    return KubernetesApi(client, **more)  # type: ignore[arg-type]  # as far as the API needs it


def test_a_write_ends_in_time_and_the_server_is_told_while_reads_may_take_longer() -> None:
    client = FakeClient()
    asking = api(client, write_s=5.0)
    asking.get(REF)
    asking.apply(REF, {}, "test")
    (_, looked, patience), (_, written, hurry) = client.asked
    assert "timeout" not in looked
    assert patience == (3.0, 10.0)
    assert written["timeout"] == "3.750s"
    assert sum(hurry) == 5.0


def test_leadership_is_looked_at_before_every_request_that_writes_and_no_other() -> None:
    client, looks = FakeClient(429), []
    asking = api(client, fence=lambda: looks.append(len(client.asked)))
    asking.get(REF)
    assert looks == []
    asking.delete(REF)
    assert looks == [2]


def test_a_write_that_is_to_be_repeated_is_not_when_leadership_was_lost_meanwhile() -> None:
    client = FakeClient(429, 429)

    def fence() -> None:
        if client.asked:
            raise NotLeader("another leads")

    with pytest.raises(NotLeader, match="another leads"):
        api(client, fence=fence).apply(REF, {}, "test")
    assert len(client.asked) == 1
