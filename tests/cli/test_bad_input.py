"""What a user meets when a part of the world is down, slow or wrong: a clear error or a hold, and no write."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from governor.adapters.ledger import SqliteLedger
from governor.lab.document_files import parse_scenario
from governor.lab.envoy_config import write_envoy_files
from governor.lab.layout import make_layout
from tests.adapters.fake_prometheus import FakePrometheus, Reply

from .conftest import Call

SMALL = """
name: small
description: two services, two classes
duration_s: 3
topology:
  services:
    - {name: web, replicas: 2, workers: 8, service_time_s: 0.01}
    - {name: db, replicas: 2, workers: 8, service_time_s: 0.01}
apis:
  - {name: web, priority: high, calls: {service: web, calls: [{service: db}]}}
  - {name: web, priority: low, calls: {service: web, calls: [{service: db}]}}
load:
  classes:
    web.high: {schedule: [[3, 30]]}
    web.low: {schedule: [[3, 60]]}
slo: {latency_s: 0.2, timeout_s: 1.0}
"""
POLICY = """
apiVersion: governor/v1alpha1
kind: GovernorPolicy
metadata: {name: mine}
spec:
  select: {edges: %s}
  knobs: {%s}
"""


class Instance:
    """Settings that enforce: a Prometheus, discovery files, and no Envoy behind them."""

    def __init__(self, directory: Path, url: str) -> None:
        self.xds = directory / "xds"
        self.ledger = directory / "governor-ledger.sqlite"
        self.config = directory / "governor.yaml"
        self._directory = directory
        scenario = parse_scenario(SMALL, Path("small.yaml"))
        write_envoy_files(scenario, make_layout(scenario, "127.0.0.1", 19000), self.xds)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.settings = {
            "mode": "enforce",
            "period_s": 1,
            "policies": ["balanced"],
            "source": {"prometheus": {"url": url, "dialect": "envoy", "timeout_s": 1}},
            "plane": {"kind": "envoy", "directory": str(self.xds), "admin_url": self.nobody},
            "health": {"enabled": False},
        }
        self.before = self.files()

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(self.xds.rglob("*.json"))}

    def policy(self, edges: str = "['*']", knobs: str = "in-flight-cap: {mode: enforce}") -> Path:
        path = self._directory / "mine.yaml"
        path.write_text(POLICY % (edges, knobs))
        self.settings["policies"] = [str(path)]
        return path

    def arguments(self, *verb: str) -> list[str]:
        self.config.write_text(json.dumps(self.settings))
        return [*(verb or ("run", "--cycles", "1")), "--config", str(self.config)]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        ledger = SqliteLedger(self.ledger)
        try:
            ledger.verify()
            return [(e.kind, e.code) for e in reversed(ledger.entries()) if e.kind != "cycle"]
        finally:
            ledger.close()


@pytest.fixture
def instance(tmp_path: Path, fake: FakePrometheus) -> Instance:
    return Instance(tmp_path, fake.url)


REFUSED = {"status": "error", "errorType": "execution", "error": "would load too many samples into memory"}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(200, b"<!doctype html><title>Log in</title>"), "answers with HTML, not with the query API"),
        (Reply(422, json.dumps(REFUSED).encode()), "answers 422 (would load too many samples"),
        (Reply(200, b'{"status":"success","data":{"resu'), "sent half an answer"),
        (Reply(200, b'{"status":"success","data":{}}', cut=9), "broke off in the middle of its answer"),
        (Reply(hang=True), "did not answer within 1 s"),
        (Reply(503, b"starting"), "answers 503 (starting)"),
    ],
)
def test_a_prometheus_that_gives_no_answer_fails_the_cycle_and_nothing_is_written(
    call: Call,
    fake: FakePrometheus,
    instance: Instance,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    said: str,
) -> None:
    fake.reply = reply
    assert call(*instance.arguments()) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "cycle failed, the next one tries again" in err
    assert "Traceback" not in err
    assert instance.files() == instance.before
    assert instance.kinds == []
    for verb in ("recommend", "check"):
        assert call(*instance.arguments(verb)) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("governor: Prometheus at http://127.0.0.1:")
        assert said in captured.err
        assert captured.out == ""


def test_a_prometheus_that_is_down_is_named(
    call: Call, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    instance.settings["source"] = {"prometheus": {"url": instance.nobody}}
    assert call(*instance.arguments()) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert instance.files() == instance.before


def test_an_answer_in_part_holds_every_change(call: Call, fake: FakePrometheus, instance: Instance) -> None:
    fake.extra = {"warnings": ["store-3 did not answer"]}
    assert call(*instance.arguments()) == 0
    assert instance.files() == instance.before
    assert instance.kinds == []
    ledger = SqliteLedger(instance.ledger)
    (cycle,) = ledger.entries(kind="cycle")
    ledger.close()
    assert {held["code"] for held in cycle.body["held"]} == {"GOV203"}


def test_without_an_envoy_each_write_is_rejected_and_recorded(
    call: Call, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*instance.arguments()) == 0
    assert instance.files() == instance.before
    assert set(instance.kinds) == {("intent", "GOV102"), ("verdict", "GOV307")}
    capsys.readouterr()
    assert call(*instance.arguments("history", "--kind", "verdict")) == 0
    assert "the data plane refused the write" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [("recommend",), ("run", "--cycles", "1")])
def test_a_service_that_the_mesh_does_not_have_is_warned_about(
    call: Call, instance: Instance, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    instance.policy(edges="['out|ingress|wbe']")
    assert call(*instance.arguments(*verb)) in {0, 1}
    assert "'out|ingress|wbe' matches no edge; did you mean out|ingress|web?" in capsys.readouterr().err
    assert instance.files() == instance.before


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ("in-flight-cap: {mode: enforced}", "did you mean enforce?"),
        ("in-flight-cap: {mode: enforce, minimum: 0}", "must lie within 1 and"),
        ("weights: {mode: enforce, minimum: 0.6}", "cannot sum to 1"),
        ("rate-limit: {mode: enforce, maximum: 0.5}", "minimum 1 is above maximum 0.5"),
    ],
)
def test_a_policy_with_a_mistake_ends_every_verb_with_file_and_line(
    call: Call, instance: Instance, capsys: pytest.CaptureFixture[str], knobs: str, said: str
) -> None:
    path = instance.policy(knobs=knobs)
    for arguments in (
        instance.arguments(),
        instance.arguments("recommend"),
        instance.arguments("check"),
        ["policies", "validate", str(path)],
    ):
        assert call(*arguments) == 2
        err = capsys.readouterr().err
        assert f"governor: {path}, line 7: spec.knobs." in err
        assert said in err
    assert not instance.ledger.exists()


def garbage(path: Path) -> None:
    path.write_bytes(b"this was a ledger once " * 50)


def changed(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.close()
    other = sqlite3.connect(path)
    other.execute("INSERT INTO entry VALUES (1, 'a', 1.0, 1, 'note', '', '', '', 'by hand', '{}', 'no hash')")
    other.commit()
    other.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (garbage, "is no SQLite file; it was left as it is"),
        (changed, "entry 1 does not match its hash"),
        (Path.mkdir, "cannot be opened; check that it is a file"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_an_error_before_anything_is_done(
    call: Call,
    fake: FakePrometheus,
    instance: Instance,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    spoil(instance.ledger)
    for verb in (("run", "--cycles", "1"), ("history",), ("explain", "d1"), ("undo", "d1")):
        assert call(*instance.arguments(*verb)) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"governor: {instance.ledger.name}: ")
        assert said in err
    assert fake.asked == []
    assert instance.files() == instance.before


def test_while_another_process_holds_the_ledger_nothing_is_written(
    call: Call, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    SqliteLedger(instance.ledger).close()
    other = sqlite3.connect(instance.ledger, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert call(*instance.arguments()) == 2
    assert "is locked by another process; end that process" in capsys.readouterr().err
    assert call(*instance.arguments("history")) == 0
    other.close()
    assert instance.files() == instance.before
    assert instance.kinds == []


def test_a_damaged_discovery_file_is_named_and_nothing_is_written(
    call: Call, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    path = instance.xds / "rtds.json"
    path.write_text('{"resources": [')
    damaged = instance.files()
    assert call(*instance.arguments()) == 2
    assert f"{path} is not JSON" in capsys.readouterr().err
    assert instance.files() == damaged
    assert instance.kinds == []
