"""What a user can set, type or alert on is documented."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from governor.adapters.meshes.known import MESHES
from governor.cli import app
from governor.knobs import Knob
from governor.policy import PRESETS, parse_policies
from governor.policy_documents import KnobDocument, Spec
from governor.reasons import Reason
from governor.runtime.metrics import GovernorMetrics
from governor.settings import Settings
from governor.settings_sources import leaves, shown
from governor.yaml_documents import field_names
from scripts.control_planes import BEGIN, END, SHOWN_BEGIN, SHOWN_END, capabilities, says, with_shown, written

DOCS = Path(__file__).resolve().parents[1] / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def first_cells(name: str, pattern: str) -> list[str]:
    """What matches `pattern` in the first column of a page's tables."""
    return re.findall(rf"^\| {pattern} \|", page(name), re.MULTILINE)


def options(command: Any) -> list[str]:
    return [o for p in command.params for o in getattr(p, "opts", ()) if o.startswith("--") and o != "--help"]


VERBS = {
    " ".join(filter(None, (name, sub))): inner
    for name, command in get_command(app).commands.items()  # type: ignore[attr-defined]
    for sub, inner in (getattr(command, "commands", None) or {"": command}).items()
}
SETTINGS = {".".join(loc): value for loc, value in leaves(Settings())}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_documented_with_its_default(setting: str) -> None:
    assert f"| `{setting}` | {shown(SETTINGS[setting])} |" in page("operations")


def test_no_setting_is_documented_that_is_none() -> None:
    assert first_cells(
        "operations", r"`([a-z_]+(?:\.[a-z_]+)+|mode|period_s|window_s|look_s|policies|models|pause_file)`"
    ) == [*SETTINGS]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_code_is_documented_with_its_sentence(reason: Reason) -> None:
    (row,) = [line for line in page("how-it-decides").splitlines() if line.startswith(f"| {reason.code} |")]
    assert reason.sentence in row


def test_no_reason_code_is_documented_that_is_none() -> None:
    assert first_cells("how-it-decides", r"(GOV\d+)") == [reason.code for reason in Reason]


def test_exactly_the_metrics_there_are_are_documented() -> None:
    metrics = list(GovernorMetrics("1", "recommend").registry.collect())
    names = {f"{metric.name}{'_total' if metric.type == 'counter' else ''}" for metric in metrics}
    assert all(name.startswith("governor_") for name in names)
    assert set(first_cells("metrics", r"`(\w+)`")) == names


def test_exactly_the_verbs_there_are_are_documented() -> None:
    documented = first_cells("operations", r"`governor ([^`]+)`")
    assert sorted(re.split(r" [A-Z\-]", verb)[0] for verb in documented) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_documented(verb: str) -> None:
    missing = [option for option in options(VERBS[verb]) if f"`{option}" not in page("operations")]
    assert missing == []


def test_every_command_line_in_the_docs_has_a_verb_and_options_that_exist() -> None:
    pages = [path.read_text() for path in (*DOCS.glob("*.md"), DOCS.parent / "README.md")]
    lines = [
        line
        for text in pages
        for line in re.findall(r"(?:`|bin/|^    )governor ([a-z][^`#\n]*)", text, re.MULTILINE)
    ]
    assert len(lines) > 10
    for line in lines:
        words = line.split()
        verb = " ".join(words[:2]) if words[0] == "policies" else words[0]
        assert verb in VERBS, line
        assert {word for word in words if word.startswith("--")} <= set(options(VERBS[verb])), line


def test_every_field_of_a_policy_every_knob_and_preset_is_documented() -> None:
    names = [*field_names(Spec), *field_names(KnobDocument), *(k.value for k in Knob), *PRESETS]
    missing = [name for name in names if name not in page("policies")]
    assert missing == []


def test_the_policy_in_the_docs_is_valid() -> None:
    block = page("policies").split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block)["kind"] == "GovernorPolicy"
    parse_policies(block, "docs")


def test_the_page_of_control_planes_is_what_the_capability_files_say() -> None:
    assert page("control-planes") == written(page("control-planes"), capabilities())


def test_every_known_mesh_has_a_capability_file_that_says_something_of_every_knob() -> None:
    files = {mesh["name"]: mesh for mesh in capabilities()}
    assert {mesh.name for mesh in MESHES} <= set(files)
    for mesh in files.values():
        for knob in Knob:
            row = mesh["knobs"][knob.value]
            assert says(row) in {"yes", "partly", "no"}
            assert row.get("reason") or says(row) == "yes", f"{mesh['name']} {knob.value} lacks a reason"
            assert row.get("field") or says(row) == "no", f"{mesh['name']} {knob.value} lacks a field"


def test_the_page_names_what_no_test_has_shown_on_a_real_api_server() -> None:
    (smi,) = [mesh for mesh in capabilities() if mesh["name"] == "smi"]
    empty = f"{BEGIN}{END}{SHOWN_BEGIN}{SHOWN_END}"
    assert "Not shown on a real API server yet (see below): `smi` weights." in written(empty, [smi])
    shown = with_shown(empty, [json.dumps({"mesh": "smi", "knob": "weights", "shown": "applied"})])
    assert "Not shown" not in written(shown, [smi])


def test_records_of_tests_become_one_row_for_each_mesh_and_knob() -> None:
    lines = [
        json.dumps({"mesh": "smi", "knob": "weights", "shown": shown}) for shown in ("second", "first", "first")
    ]
    made = with_shown(f"a\n{SHOWN_BEGIN}\nold\n{SHOWN_END}\nb", lines)
    assert "| smi | weights | first; second |" in made
    assert "old" not in made
    with pytest.raises(ValueError, match="the page lacks"):
        with_shown("a page without marks", lines)
