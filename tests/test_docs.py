"""What a user can set, type or alert on is documented."""

from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from governor.cli import app
from governor.knobs import Knob
from governor.policy import PRESETS, parse_policies
from governor.policy_documents import KnobDocument, Spec
from governor.reasons import Reason
from governor.runtime.metrics import GovernorMetrics
from governor.settings import Settings
from governor.settings_sources import leaves
from governor.yaml_documents import field_names

DOCS = Path(__file__).resolve().parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


@pytest.mark.parametrize("setting", [".".join(loc) for loc, _ in leaves(Settings())])
def test_every_setting_is_documented(setting: str) -> None:
    assert f"| `{setting}` |" in page("operations")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_code_is_documented_with_its_sentence(reason: Reason) -> None:
    assert f"| {reason.code} |" in page("how-it-decides")
    assert reason.sentence in page("how-it-decides")


def test_every_metric_is_documented() -> None:
    for metric in GovernorMetrics("1", "recommend").registry.collect():
        assert metric.name.startswith("governor_")
        assert f"| `{metric.name}{'_total' if metric.type == 'counter' else ''}` |" in page("metrics")


def test_every_verb_is_documented() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        for verb in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"`governor {verb}" in page("operations")


def test_every_field_of_a_policy_every_knob_and_preset_is_documented() -> None:
    names = [*field_names(Spec), *field_names(KnobDocument), *(k.value for k in Knob), *PRESETS]
    missing = [name for name in names if name not in page("policies")]
    assert missing == []


def test_the_policy_in_the_docs_is_valid() -> None:
    block = page("policies").split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block)["kind"] == "GovernorPolicy"
    parse_policies(block, "docs")
