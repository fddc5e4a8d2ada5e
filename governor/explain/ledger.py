"""Ledger entries as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape as plain
from rich.table import Table

from governor.explain.report import moment
from governor.explain.values import effect, expected, in_words
from governor.knobs import Hypothesis, Knob, value_from_json
from governor.ports import Entry
from governor.reasons import Reason

VALUES = ("before", "after", "uncapped")
"""Names in a body that hold a knob's value."""


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
    promised = next((h for e in entries if isinstance(h := e.body.get("hypothesis"), dict)), {})
    for e in entries:
        about = " ".join(part for part in (e.target, e.knob, e.code) if part)
        parts.append(f"[bold]{plain(moment(e.at))}  {plain(e.kind)}[/bold]  {plain(about)}")
        parts.append(f"  {plain(e.summary)}")
        parts += [f"  {plain(line)}" for line in _lines(e, promised)]
    return Group(*parts)


def _lines(e: Entry, promised: Mapping[str, Any]) -> Iterator[str]:
    body = dict(e.body)
    if e.kind == "verdict" and {"measured", "bound"} <= body.keys() and "metric" in promised:
        yield f"seen: {_seen(e.code, promised['metric'], body.pop('measured'), body.pop('bound'))}"
    for name, value in sorted(body.items()):
        yield f"{name}: {_words(e.knob, name, value)}"


def _seen(code: str, metric: str, measured: float | None, bound: float) -> str:
    wanted = effect(metric, bound)
    if measured is not None:
        return f"{effect(metric, measured, bare=True)}; it had to be {wanted}"
    # The ledger's JSON has no infinity, which is what goodput is where nothing was refused or lost, and no NaN.
    if code == Reason.KEPT.code:
        return f"all that was asked for was answered well, however little that was; it had to be {wanted}"
    return f"it could not be measured; it had to be {wanted}"


def _words(knob: str, name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        try:
            if name in VALUES:
                return in_words(value_from_json(Knob(knob), value))
            if name == "hypothesis":
                return expected(Hypothesis(**value))
        except (KeyError, TypeError, ValueError):
            pass  # an entry of another governor's making is shown as it is
    return json.dumps(value, sort_keys=True, default=str)
