"""Ledger entries as people read them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape as plain
from rich.table import Table

from governor.explain.report import moment
from governor.ports import Entry


def history(entries: Sequence[Entry]) -> RenderableType:
    """One line an entry."""
    if not entries:
        return "The ledger holds nothing that matches."
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("when", "id", "kind", "target", "knob", "code", "what"):
        grid.add_column(name, overflow="fold")
    for e in entries:
        grid.add_row(*map(plain, (moment(e.at), e.id, e.kind, e.target, e.knob, e.code, e.summary)))
    return grid


def explanation(entries: Sequence[Entry]) -> RenderableType:
    """Everything that is recorded about one decision, oldest first."""
    parts: list[RenderableType] = []
    for e in entries:
        about = " ".join(part for part in (e.target, e.knob, e.code) if part)
        parts.append(f"[bold]{plain(moment(e.at))}  {plain(e.kind)}[/bold]  {plain(about)}")
        parts.append(f"  {plain(e.summary)}")
        parts += [f"  {plain(name)}: {plain(_words(value))}" for name, value in sorted(e.body.items())]
    return Group(*parts)


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
