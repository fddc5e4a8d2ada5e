"""The advice of one cycle, as a table, JSON or a web page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from html import escape
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape as plain
from rich.table import Table

from governor.domain import Gap
from governor.explain.findings import (
    LISTED,
    Findings,
    abnormal_in_words,
    as_data,
    causes_in_words,
    load_in_words,
)
from governor.explain.rows import HeldProposal, Row, Unknown, as_json, rows, unknowns
from governor.explain.values import number
from governor.knobs import Proposal

SHOWN_UNKNOWNS = 20
"""The table shows this many unknown subjects; JSON shows all."""


@dataclass(frozen=True)
class Advice:
    """What one cycle has to say."""

    at: float
    """Seconds since the epoch."""
    window_s: float
    go: Sequence[Proposal]
    held: Sequence[HeldProposal]
    gaps: Sequence[Gap] = ()
    notes: Sequence[str] = ()
    findings: Findings = field(default_factory=Findings)

    @cached_property
    def rows(self) -> list[Row]:
        """Every proposal as a row."""
        return rows(self.go, self.held)

    @property
    def count(self) -> int:
        """Number of recommendations."""
        return sum(r.advice for r in self.rows)


def moment(at: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC; `?` if there is no such moment."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if math.isfinite(at) else "?"


def table(advice: Advice) -> RenderableType:
    """For a terminal: recommendations, what is held back, what is unknown."""
    parts: list[RenderableType] = []
    found = advice.rows
    if found:
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False)
        for name in ("target", "knob", "current -> proposed (uncapped)", "conf.", "why, and what to expect"):
            grid.add_column(name, overflow="fold", justify="right" if name == "conf." else "left")
        for line in found:
            grid.add_row(*_cells(line), style="" if line.advice else "dim")
        parts.append(grid)
    missing = unknowns(advice.gaps)
    if missing:
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("unknown", overflow="fold")
        grid.add_column("", justify="center")
        grid.add_column("reason", overflow="fold")
        for entry in missing[:SHOWN_UNKNOWNS]:
            grid.add_row(plain(entry.subject), "?", plain(entry.reason))
        parts.append(grid)
        if len(missing) > SHOWN_UNKNOWNS:
            parts.append(f"... and {len(missing) - SHOWN_UNKNOWNS} more unknown; --format json shows all.")
    parts += _found(advice.findings)
    parts += [plain(note) for note in advice.notes]
    parts.append(plain(closing(advice)))
    return Group(*parts)


def _found(findings: Findings) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if findings.anomalies:
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("abnormal", "signal", "now", "since"):
            grid.add_column(name, overflow="fold")
        for one in findings.anomalies[:SHOWN_UNKNOWNS]:
            cells = (one.subject, f"{one.table} {one.signal}", abnormal_in_words(one), moment(one.since))
            grid.add_row(*map(plain, cells))
        parts.append(grid)
        if len(findings.anomalies) > SHOWN_UNKNOWNS:
            parts.append(f"... and {len(findings.anomalies) - SHOWN_UNKNOWNS} more; --format json shows them.")
    parts += [plain(sentence) for sentence in causes_in_words(findings.causes)]
    parts += [plain(f"Expected load of {load_in_words(load)}.") for load in findings.loads]
    return parts


def _cells(line: Row) -> tuple[str, ...]:
    change = f"{line.current} -> {line.proposed}"
    if line.uncapped != line.proposed:
        change += f" ({line.uncapped})"
    why = f"{line.code} {_sentence(line.summary)} Expect {line.expected}."
    if line.gate:
        why += f"\nheld by {line.gate}: {line.gate_detail}"
    return tuple(plain(text) for text in (line.target, line.knob, change, f"{line.confidence:.2f}", why))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def closing(advice: Advice) -> str:
    """The last line: how much was found."""
    held = len(advice.rows) - advice.count
    what = {0: "Nothing to recommend", 1: "1 recommendation"}.get(advice.count, f"{advice.count} recommendations")
    tail = f", {held} held back" if held else ""
    return f"{what}{tail}. Window of {number(advice.window_s)} s up to {moment(advice.at)}. Nothing was written."


def to_json(advice: Advice) -> str:
    """For programs: exact values beside the words; NaN never appears."""
    held = [as_json(h.proposal, h.reason, h.detail) for h in advice.held]
    body: dict[str, Any] = {
        "at": moment(advice.at),
        "window_s": advice.window_s,
        "proposals": [as_json(p) for p in advice.go] + held,
        **as_data(advice.findings),
        "unknown": [{**asdict(u), "value": "?"} for u in unknowns(advice.gaps)],
        "notes": list(advice.notes),
    }
    return json.dumps(_finite(body), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }}
body {{ color: #1c2430; background: #fff }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0 }}
th, td {{ text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid #dde3ea }}
th {{ font-weight: 600; color: #55606e }} .held {{ color: #7a8491 }} code {{ font-size: .92em }}
.num {{ text-align: right; font-variant-numeric: tabular-nums }}
</style></head><body><h1>{title}</h1><p>{closing}</p>
{body}</body></html>
"""


def to_html(advice: Advice, title: str = "What the governor recommends") -> str:
    """One self-contained page."""
    body = html_rows(advice.rows) + html_findings(advice.findings) + html_unknowns(unknowns(advice.gaps))
    body += "".join(f"<p>{escape(note)}</p>\n" for note in advice.notes)
    return _PAGE.format(title=escape(title), closing=escape(closing(advice)), body=body)


def html_rows(lines: Sequence[Row]) -> str:
    """Rows as an HTML table; empty if there are none."""
    if not lines:
        return ""
    head = "".join(f"<th>{n}</th>" for n in ("target", "knob", "current", "proposed", "confidence", "why"))
    body = "".join(_html_row(line) for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n"


def _html_row(line: Row) -> str:
    proposed = escape(line.proposed)
    if line.uncapped != line.proposed:
        proposed += f"<br><small>without bounds and steps: {escape(line.uncapped)}</small>"
    why = f"<code>{escape(line.code)}</code> {escape(_sentence(line.summary))} Expect {escape(line.expected)}."
    if line.gate:
        why += f"<br><small>held by <code>{escape(line.gate)}</code>: {escape(line.gate_detail)}</small>"
    return (
        f'<tr class="{"advice" if line.advice else "held"}"><td>{escape(line.target)}</td>'
        f"<td>{escape(line.knob)}</td><td>{escape(line.current)}</td><td>{proposed}</td>"
        f'<td class="num">{line.confidence:.2f}</td><td>{why}</td></tr>\n'
    )


def html_findings(findings: Findings) -> str:
    """What is abnormal, who explains it and what load may come; empty if nothing was found."""
    body = "".join(
        f"<tr><td>{escape(one.subject)}</td><td>{escape(one.table)} {escape(one.signal)}</td>"
        f"<td>{escape(abnormal_in_words(one))}</td><td>{moment(one.since)}</td></tr>\n"
        for one in findings.anomalies[:LISTED]
    )
    head = "<tr><th>abnormal</th><th>signal</th><th>now</th><th>since</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>\n" if body else ""
    causes = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in causes_in_words(findings.causes))
    loads = "".join(f"<li>{escape(load_in_words(load))}</li>\n" for load in findings.loads)
    return table + causes + (f"<h2>Expected load</h2><ul>\n{loads}</ul>\n" if loads else "")


def html_unknowns(entries: Sequence[Unknown]) -> str:
    """What is unknown, as an HTML table; empty if all is known."""
    if not entries:
        return ""
    body = "".join(
        f"<tr><td>{escape(e.subject)}</td><td>?</td><td>{escape(e.reason)}</td></tr>\n" for e in entries
    )
    head = "<tr><th>unknown</th><th></th><th>reason</th></tr>"
    return f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>\n"
