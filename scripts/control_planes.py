#!/usr/bin/env python3
"""Writes what every mesh can say into docs/control-planes.md, from policies/capabilities/*.yaml.

With a file that tests/kubernetes wrote (CAPABILITIES_FILE=FILE scripts/test tests/kubernetes) also what those
tests have shown on a real API server: scripts/control_planes.py FILE.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "control-planes.md"
FOLDER = ROOT / "policies" / "capabilities"
BEGIN = "<!-- from policies/capabilities by scripts/control_planes.py: do not edit -->"
END = "<!-- end -->"
SHOWN_BEGIN = "<!-- from tests/kubernetes by scripts/control_planes.py: do not edit -->"
SHOWN_END = "<!-- end of what was shown -->"
KNOBS = (
    "weights",
    "retries",
    "timeout",
    "rate-limit",
    "outlier-detection",
    "in-flight-cap",
    "connection-limits",
)

Capability = Mapping[str, Any]


def capabilities(folder: Path = FOLDER) -> list[Capability]:
    """All meshes by title."""
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in folder.glob("*.yaml")]
    return sorted(found, key=lambda mesh: str(mesh.get("title", mesh["name"])).lower())


def written(page: str, meshes: Sequence[Capability]) -> str:
    """The page with its generated part made anew; ValueError if it has no such part."""
    parts = filter(None, (_matrix(meshes), _not_shown(page, meshes), _sections(meshes)))
    return _replaced(page, BEGIN, END, "\n\n".join(parts))


def with_shown(page: str, lines: Iterable[str]) -> str:
    """The page with the records of tests (JSON lines) in place of those that it had."""
    records = [json.loads(line) for line in lines]
    order = {knob: at for at, knob in enumerate(KNOBS)}
    shown: dict[tuple[str, str], set[str]] = {}
    for record in records:
        shown.setdefault((record["mesh"], record["knob"]), set()).add(record["shown"])
    rows = [
        [*key, "; ".join(sorted(shown[key]))] for key in sorted(shown, key=lambda key: (key[0], order[key[1]]))
    ]
    return _replaced(page, SHOWN_BEGIN, SHOWN_END, _table(["mesh", "knob", "shown"], rows))


def _not_shown(page: str, meshes: Sequence[Capability]) -> str:
    """What no test has shown on a real API server, going by the page's own table of that."""
    table = page.partition(SHOWN_BEGIN)[2].partition(SHOWN_END)[0]
    missing = [
        f"`{mesh['name']}` {knob}"
        for mesh in meshes
        for knob in KNOBS
        if says(mesh["knobs"][knob]) != "no" and f"| {mesh['name']} | {knob} |" not in table
    ]
    return f"Not shown on a real API server yet (see below): {', '.join(missing)}." if missing else ""


def _replaced(page: str, begin: str, end: str, text: str) -> str:
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page lacks {begin} or {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def says(row: Mapping[str, Any]) -> str:
    """yes, partly or no; YAML reads a bare yes or no as a truth value."""
    return {True: "yes", False: "no"}.get(row["says"], str(row["says"]))


def _matrix(meshes: Sequence[Capability]) -> str:
    rows = [[_title(mesh), *(says(mesh["knobs"][knob]) for knob in KNOBS)] for mesh in meshes]
    return _table(["", *KNOBS], rows)


def _sections(meshes: Sequence[Capability]) -> str:
    return "\n\n".join(_section(mesh) for mesh in meshes)


def _section(mesh: Capability) -> str:
    parts = [f"### {_title(mesh)}", f"`{mesh['name']}`: {', '.join(f'`{api}`' for api in mesh.get('apis', ()))}"]
    if mesh.get("needs"):
        parts.append(f"Needs: {_line(mesh['needs'])}")
    parts.append(_table(["knob", "says it", "where", "unit and bounds", "why not, or not all"], _rows(mesh)))
    notes = [f"* {_line(note)}" for note in (*mesh.get("facts", ()), *mesh.get("traps", ()))]
    return "\n\n".join(parts + (["\n".join(notes)] if notes else []))


def _rows(mesh: Capability) -> Iterable[list[str]]:
    for knob in KNOBS:
        row = mesh["knobs"][knob]
        where = ": ".join(filter(None, (row.get("resource", ""), row.get("field", ""))))
        unit = "; ".join(str(row[key]) for key in ("unit", "bounds") if row.get(key))
        yield [knob, says(row), where, unit, row.get("reason", "")]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _title(mesh: Capability) -> str:
    return str(mesh.get("title", mesh["name"]))


def _line(text: str) -> str:
    return " ".join(str(text).split())


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name in arguments:
        page = with_shown(page, Path(name).read_text(encoding="utf-8").splitlines())
    PAGE.write_text(written(page, capabilities()), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
