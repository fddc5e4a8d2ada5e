from pathlib import Path

import pytest
from pydantic import ValidationError

from governor.errors import DocumentError
from governor.settings import RunMode, Settings
from governor.settings_sources import load_settings


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "governor.yaml"
    path.write_text(text)
    return path


def wrong(path: Path | None = None) -> str:
    with pytest.raises(DocumentError) as caught:
        load_settings(path)
    return str(caught.value)


def test_nothing_set_means_recommend_and_no_plane() -> None:
    settings = load_settings().settings
    assert settings.mode is RunMode.RECOMMEND
    assert settings.plane.kind == "none"
    assert settings.window == settings.period_s == 15.0
    with pytest.raises(ValidationError):
        settings.mode = RunMode.ENFORCE  # type: ignore[misc]


def test_command_line_beats_environment_beats_file_beats_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, "period_s: 5\nwindow_s: 50\nsource:\n  prometheus: {timeout_s: 3}\n")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "source__prometheus__bearer_token").write_text("hush\n")
    (secrets / "source__prometheus__timeout_s").write_text("9")
    monkeypatch.setenv("GOVERNOR_PERIOD_S", "6")
    monkeypatch.setenv("GOVERNOR_WINDOW_S", "60")
    loaded = load_settings(path, {"period_s": 7.0}, str(secrets))
    settings = loaded.settings
    assert (settings.period_s, settings.window_s, settings.source.prometheus.timeout_s) == (7.0, 60.0, 3.0)
    sources = {name: (value, source) for name, value, source in loaded.values()}
    assert sources["period_s"][1] == "command line"
    assert sources["window_s"][1] == "environment GOVERNOR_WINDOW_S"
    assert sources["source.prometheus.timeout_s"][1] == f"{path}, line 4"
    assert sources["source.prometheus.bearer_token"] == ("********", f"secrets {secrets}")
    assert sources["mode"] == ("recommend", "default")
    token = settings.source.prometheus.bearer_token
    assert token is not None
    assert token.get_secret_value() == "hush"


def test_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERNOR_POLICIES", "balanced, cautious")
    monkeypatch.setenv("GOVERNOR_SOURCE__ENVOY__ADMIN_URLS", '["http://127.0.0.1:1"]')
    settings = load_settings().settings
    assert settings.policies == ("balanced", "cautious")
    assert [str(u) for u in settings.source.envoy.admin_urls] == ["http://127.0.0.1:1/"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode: enfroce", ["line 1", "mode", "did you mean enforce?"]),
        ("log:\n  formt: json", ["line 2", "log.formt", "did you mean format?"]),
        ("period_s: soon", ["line 1", "period_s", "valid number"]),
        ("period_s: 0", ["greater than or equal to 1"]),
        ("source:\n  prometheus:\n    url: nonsense", ["line 3", "source.prometheus.url"]),
        ("mode: enforce", ["needs a control plane"]),
        ("plane: {kind: envoy}", ["plane", "needs directory and admin_url"]),
        ("policies: []", ["policies is empty"]),
        ("source: {prometheus: {bearer_token: a, bearer_token_file: b}}", ["not both"]),
        ("- a", ["a mapping is expected"]),
        ("a: b\n---\nc: d", ["2 documents"]),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    message = wrong(file(tmp_path, text))
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GOVERNOR_PERIODS", "4", "did you mean GOVERNOR_PERIOD_S?"),
        (
            "GOVERNOR_PERIOD_S",
            "soon",
            "environment GOVERNOR_PERIOD_S: period_s: input should be a valid number",
        ),
        ("GOVERNOR_LOG__FORMT", "json", "environment GOVERNOR_LOG__FORMT: log.formt: unknown field"),
        ("GOVERNOR_POLICIES", "[a", "environment GOVERNOR_POLICIES: not valid JSON"),
    ],
)
def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str) -> None:
    monkeypatch.setenv(name, value)
    assert expected in wrong()


def test_variables_that_kubernetes_gives_every_pod_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOVERNOR_SERVICE_HOST", "GOVERNOR_PORT", "GOVERNOR_PORT_9480_TCP_ADDR"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:9480")
    assert load_settings().settings == Settings()


def test_the_file_can_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVERNOR_CONFIG", str(file(tmp_path, "period_s: 3")))
    assert load_settings().settings.period_s == 3.0
    monkeypatch.setenv("GOVERNOR_CONFIG", str(tmp_path / "none.yaml"))
    assert "there is no such file" in wrong()
