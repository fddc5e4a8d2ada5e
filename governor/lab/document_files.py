"""Scenarios as YAML files: reading, and errors that name file, line, field and allowed values."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from governor.errors import DocumentError
from governor.lab.documents import ClassLoad, Scenario

SCENARIOS = Path(__file__).parent / "scenarios"


def scenario_names() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def load_scenario(path_or_name: str | Path) -> Scenario:
    """Read a scenario from a YAML file or by the name of one that comes with the package.

    Raises DocumentError naming the file, the line and field, and what is allowed there.
    """
    path = Path(path_or_name)
    if path.suffix not in {".yaml", ".yml"}:
        path = SCENARIOS / f"{path_or_name}.yaml"
        if not path.exists():
            known = ", ".join(scenario_names())
            raise DocumentError(
                f"no scenario called {str(path_or_name)!r}: give the path of a .yaml file or one of {known}"
            )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: cannot be read: {error}") from error
    return parse_scenario(text, path)


def parse_scenario(text: str, path: Path) -> Scenario:
    """Scenario from YAML `text`; `path` is named in errors and anchors shape files."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise DocumentError(f"{path}{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise DocumentError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DocumentError(f"{path}: must be a mapping with the fields of a scenario")
    try:
        scenario = Scenario.model_validate(content)
    except ValidationError as error:
        raise DocumentError(_explain(error, tree, path)) from error
    return _resolve_shapes(scenario, path)


def _explain(error: ValidationError, tree: yaml.Node | None, path: Path) -> str:
    lines = []
    for found in error.errors():
        where = ".".join(str(part) for part in found["loc"]) or "the document"
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            message = f"unknown field (allowed: {', '.join(_allowed_fields(found['loc'][:-1]))})"
        line = _line_of(tree, found["loc"])
        lines.append(f"{path}:{line}: {where}: {message}")
    return "\n".join(lines)


def _allowed_fields(loc: tuple[int | str, ...]) -> list[str]:
    """Field names of the model at `loc`, found by walking the JSON schema."""
    schema = Scenario.model_json_schema()
    node: dict[str, Any] = schema
    for part in loc:
        node = _child(schema, node, part)
    for option in node.get("anyOf", [node]):
        fields = _deref(schema, option).get("properties")
        if fields:
            return sorted(fields)
    return ["none"]


def _child(schema: dict[str, Any], node: dict[str, Any], part: int | str) -> dict[str, Any]:
    """Schema of the element or field `part` of what `node` describes; empty if unknown."""
    for alternative in node.get("anyOf", [node]):
        option = _deref(schema, alternative)
        found = option.get("items") if isinstance(part, int) else None
        if isinstance(part, str):
            found = option.get("properties", {}).get(part) or option.get("additionalProperties")
        if isinstance(found, dict):
            return _deref(schema, found)
    return {}


def _deref(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def _line_of(tree: yaml.Node | None, loc: tuple[int | str, ...]) -> int:
    """Line (from 1) of the deepest part of `loc` that exists in the YAML tree."""
    node = tree
    line = 1 if node is None else node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            if part >= len(node.value):
                break
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _resolve_shapes(scenario: Scenario, path: Path) -> Scenario:
    classes = {name: _resolved(load, scenario.duration_s, path) for name, load in scenario.load.classes.items()}
    load = scenario.load.model_copy(update={"classes": classes})
    return scenario.model_copy(update={"load": load})


def _resolved(load: ClassLoad, duration_s: float, path: Path) -> ClassLoad:
    if load.shape is None:
        return load
    source = path.parent / load.shape.file
    try:
        with source.open(encoding="utf-8", newline="") as handle:
            rows = csv.DictReader(line for line in handle if not line.startswith("#"))
            rates = [float(row["relative_rate"]) for row in rows]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DocumentError(
            f"{source}: cannot be read as a shape (CSV with a column relative_rate): {error!r}"
        ) from error
    seconds, peak = load.shape.seconds_per_row, load.shape.peak_rps
    if len(rates) * seconds < duration_s - 1e-9:
        raise DocumentError(
            f"{source}: {len(rates)} rows of {seconds:g} s are shorter than the scenario's {duration_s:g} s"
        )
    schedule = tuple((seconds, rate * peak) for rate in rates)
    return load.model_copy(update={"schedule": schedule, "shape": None})
