"""`governor config` and `governor policies validate`."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.markup import escape as plain
from rich.table import Table

from governor.commands.output import NOTHING, show
from governor.policy import load_policies
from governor.settings_sources import load_settings


def show_config(config: Path | None) -> int:
    """Each setting with the place it comes from."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("setting", "value", "from"):
        grid.add_column(name, overflow="fold")
    for row in load_settings(config).values():
        grid.add_row(*map(plain, row))
    show(grid)
    return NOTHING


def validate_policies(sources: list[str]) -> int:
    """Check policy files; DocumentError names everything that is wrong in the first that is not right."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("policy", "edges", "APIs", "knobs"):
        grid.add_column(name, overflow="fold")
    for policy in load_policies([Path(s) if Path(s).exists() else s for s in sources]):
        spec = policy.spec
        knobs = ", ".join(f"{knob} {document.mode}" for knob, document in spec.knobs.items())
        row = (policy.metadata.name, ", ".join(spec.select.edges), ", ".join(spec.select.apis), knobs)
        grid.add_row(*map(plain, row))
    show(grid)
    return NOTHING
