"""Prometheus over TLS, with a certificate authority made for the test."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from governor.adapters.prometheus_client import PrometheusClient, PrometheusOptions
from governor.errors import SourceUnreachable

from .fake_prometheus import FakePrometheus

UP = "up"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def fake(authority: trustme.CA) -> Iterator[FakePrometheus]:
    with FakePrometheus("envoy", {}, serving(authority, "127.0.0.1")) as server:
        yield server


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def ask(options: PrometheusOptions) -> None:
    client = PrometheusClient(options)
    try:
        client.refresh_token()
        assert client.query(UP) == []
    finally:
        client.close()


def test_a_named_authority_is_trusted_and_token_and_headers_arrive(
    fake: FakePrometheus, ca_file: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    headers = {"X-Scope-OrgID": "shop"}
    ask(PrometheusOptions(fake.url, ca_file=ca_file, bearer_token_file=token, headers=headers))
    (asked,) = fake.asked
    assert asked.headers["Authorization"] == "Bearer s3cret"
    assert asked.headers["X-Scope-OrgID"] == "shop"


@pytest.mark.parametrize("named", [None, "another"])
def test_an_authority_that_is_not_trusted_is_refused_before_the_token_is_sent(
    fake: FakePrometheus, tmp_path: Path, named: str | None
) -> None:
    other = None
    if named:
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(SourceUnreachable, match=r"certificate does not hold .*source\.prometheus\.ca_file"):
        ask(PrometheusOptions(fake.url, ca_file=other, bearer_token="s3cret"))
    assert fake.asked == []


def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    with (
        FakePrometheus("envoy", {}, serving(authority, "prometheus.example")) as server,
        pytest.raises(SourceUnreachable, match=r"certificate does not hold .*127\.0\.0\.1"),
    ):
        ask(PrometheusOptions(server.url, ca_file=ca_file))


def test_verification_can_be_switched_off(fake: FakePrometheus) -> None:
    ask(PrometheusOptions(fake.url, insecure_skip_verify=True))
    assert len(fake.asked) == 1
