"""What goes out to Prometheus, and every bad thing that can come back, over real HTTP on loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from governor.adapters.prometheus_client import PrometheusClient, PrometheusOptions
from governor.adapters.prometheus_queries import rows_of, series_of
from governor.errors import SourceError, SourceRefused, SourceUnreachable

from .fake_prometheus import NOW, FakePrometheus, Reply

UP = "up"


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    with FakePrometheus("envoy", {}) as server:
        yield server


def _fails(
    fake: FakePrometheus, reply: Reply, kind: type[SourceError] = SourceRefused, timeout_s: float = 5.0
) -> str:
    fake.reply = reply
    client = PrometheusClient(PrometheusOptions(fake.url, timeout_s=timeout_s))
    with pytest.raises(kind) as failed:
        client.query(UP, NOW)
    client.close()
    assert fake.url in str(failed.value)
    return str(failed.value)


def _json(document: object) -> Reply:
    return Reply(200, json.dumps(document).encode())


def test_queries_are_posted_in_the_body_with_headers_and_token(
    fake: FakePrometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    options = PrometheusOptions(fake.url + "/", bearer_token="s3cret", headers={"X-Scope-OrgID": "shop"})
    client = PrometheusClient(options)
    client.query(UP, NOW)
    client.query_range(UP, 100, 200, 5)
    client.close()
    instant, ranged = fake.asked
    for asked in (instant, ranged):
        assert asked.method == "POST"
        assert asked.address_query == ""
        assert asked.headers["Authorization"] == "Bearer s3cret"
        assert asked.headers["X-Scope-OrgID"] == "shop"
    assert (instant.path, ranged.path) == ("/api/v1/query", "/api/v1/query_range")
    assert instant.form == {"query": UP, "time": f"{NOW:.3f}", "timeout": "10s"}
    assert ranged.form == {"query": UP, "start": "100", "end": "200", "step": "5", "timeout": "10s"}
    assert "s3cret" not in repr(options)


def test_the_token_file_is_read_again(fake: FakePrometheus, tmp_path: Path) -> None:
    path = tmp_path / "token"
    client = PrometheusClient(PrometheusOptions(fake.url, bearer_token_file=path))
    with pytest.raises(SourceRefused, match="bearer_token_file"):
        client.refresh_token()
    for token in ("first", "second"):
        path.write_text(f"{token}\n")
        client.refresh_token()
        client.query(UP)
    client.close()
    assert [asked.headers["Authorization"] for asked in fake.asked] == ["Bearer first", "Bearer second"]


def test_loopback_is_never_asked_through_a_proxy(fake: FakePrometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = PrometheusClient(PrometheusOptions(fake.url))
    assert client.query(UP) == []
    client.close()


def test_down_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://someone:hidden@127.0.0.1:{taken.getsockname()[1]}"
        client = PrometheusClient(PrometheusOptions(url, timeout_s=2))
        with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:\d+ cannot be reached .*refused") as failed:
            client.query(UP)
        client.close()
    assert "hidden" not in str(failed.value)


def test_slow_is_unreachable_and_names_the_timeout(fake: FakePrometheus) -> None:
    said = _fails(fake, Reply(hang=True), SourceUnreachable, timeout_s=0.2)
    assert "did not answer within 0.2 s" in said
    assert "source.prometheus.timeout_s" in said
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "bearer_token"), (403, "bearer_token"), (404, "path of source.prometheus.url"), (500, "its log")],
)
def test_an_error_status_says_what_to_do(fake: FakePrometheus, status: int, advice: str) -> None:
    said = _fails(fake, Reply(status, b"<html>no</html>"))
    assert f"answers {status} (a page of HTML)" in said
    assert advice in said


def test_a_refused_query_is_named_with_the_reason(fake: FakePrometheus) -> None:
    body = {"status": "error", "errorType": "execution", "error": "would load too many samples into memory"}
    said = _fails(fake, Reply(422, json.dumps(body).encode()))
    assert "too many samples" in said
    assert "shorter window" in said
    assert UP in said


def test_unavailable_is_tried_once_more(fake: FakePrometheus) -> None:
    assert "answers 503 (starting)" in _fails(fake, Reply(503, b"starting"))
    assert len(fake.asked) == 2


def test_a_redirect_is_not_followed(fake: FakePrometheus) -> None:
    said = _fails(fake, Reply(302, headers={"location": "https://login.example/start?token=x"}))
    assert "sends us to https://login.example/start," in said
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(200, b"\n <!doctype html><title>Log in</title>"), "HTML"),
        (Reply(200, b'{"status":"success","data":{"resu'), "half an answer"),
        (Reply(200, b'{"status":"success","data":{}}', cut=9), "broke off in the middle"),
        (_json([1, 2]), "no query result"),
        (_json({"status": "ok"}), "no query result"),
        (_json({"status": "error", "error": "tenant unknown"}), "tenant unknown"),
        (_json({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}), "a scalar where"),
        (_json({"status": "success", "data": {"resultType": "matrix", "result": []}}), "a matrix where a vector"),
        (_json({"status": "success", "data": {"resultType": "vector", "result": None}}), "vector"),
    ],
)
def test_what_is_no_answer_is_refused(fake: FakePrometheus, reply: Reply, said: str) -> None:
    assert said in _fails(fake, reply)


def test_warnings_are_kept_and_remarks_on_wording_are_not(fake: FakePrometheus) -> None:
    fake.extra = {
        "warnings": ["receive series from store-3: unavailable"],
        "infos": ["PromQL info: metric might not be a counter", "2 of 5 shards answered"],
    }
    client = PrometheusClient(PrometheusOptions(fake.url))
    client.query(UP)
    client.query(UP)
    assert client.take_warnings() == ("receive series from store-3: unavailable", "2 of 5 shards answered")
    assert client.take_warnings() == ()
    client.close()


def test_a_ca_file_that_is_not_there_is_named(fake: FakePrometheus, tmp_path: Path) -> None:
    options = PrometheusOptions("https://127.0.0.1:1", ca_file=tmp_path / "none.pem")
    client = PrometheusClient(options)
    with pytest.raises(SourceRefused, match="ca_file"):
        client.query(UP)
    client.close()


def test_tls_that_is_none_is_unreachable(fake: FakePrometheus) -> None:
    client = PrometheusClient(PrometheusOptions(fake.url.replace("http:", "https:"), timeout_s=2))
    with pytest.raises(SourceUnreachable, match=r"certificate|SSL"):
        client.query(UP)
    client.close()


@pytest.mark.parametrize(
    "row", [{}, {"metric": {}}, {"metric": {}, "value": [1]}, {"metric": {}, "value": [1, "x"]}, 3]
)
def test_rows_of_another_form_are_refused(row: object) -> None:
    with pytest.raises(SourceRefused, match="not in Prometheus' form"):
        rows_of([row], UP, "Prometheus")  # type: ignore[list-item]
    with pytest.raises(SourceRefused, match="not in Prometheus' form"):
        series_of([row], UP, "Prometheus")  # type: ignore[list-item]


def test_a_row_that_comes_twice_counts_once() -> None:
    one = {"metric": {"a": "1"}, "value": [NOW, "+Inf"]}
    rows = rows_of([one, one], UP, "Prometheus")
    assert (len(rows.values), rows.repeated, rows.at) == (1, 1, NOW)
    assert rows.values[0] == float("inf")
