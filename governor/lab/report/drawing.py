"""The result as one SVG drawing, for a README: answers in time over time, faults, scores and decisions.

It brings its own background, so that it reads the same on a light and on a dark page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path

from governor.lab.report.data import Arm, ArmName, Finding, ReportData, Series
from governor.lab.report.page import write_whole
from governor.lab.report.words import overall_share, percent_or_unknown

WIDTH, HEIGHT = 960, 426
LEFT, RIGHT, TOP, BOTTOM = 72, 936, 112, 314
"""Edges of the plot, in the drawing's own units (pixels at its natural size)."""
ARMS: tuple[ArmName, ...] = ("governed", "ungoverned")
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
CHARACTER = 7.0
"""Width of a character on average."""

_STYLE = """
text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b232c }
.ground { fill: #ffffff; stroke: #d9dfe6 } .big { font-size: 17px; font-weight: 600 } .soft { fill: #55606d }
.fault { fill: #e69f00; fill-opacity: .2 } .grid { stroke: #e8ecf0 } .best { fill: #55606d; fill-opacity: .14 }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round } .ungoverned.line { stroke-dasharray: 7 3 }
.governed.line, .change { stroke: #0072b2 } text.governed { fill: #0072b2 }
.ungoverned.line { stroke: #c24e00 } text.ungoverned { fill: #c24e00 } .change { stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e9ee } .ground { fill: #12171d; stroke: #343e49 } .soft { fill: #a3aebb }
.grid { stroke: #252d36 } .fault { fill-opacity: .22 } .best { fill: #a3aebb; fill-opacity: .16 }
.governed.line, .change { stroke: #56b4e9 } text.governed { fill: #56b4e9 }
.ungoverned.line { stroke: #ff9248 } text.ungoverned { fill: #ff9248 } }
"""


def write_drawing(path: Path, data: ReportData) -> None:
    """Write the drawing to `path`, whole or not at all; LabError if it cannot be written."""
    write_whole(path, drawing(data))


def drawing(data: ReportData) -> str:
    """The whole drawing as SVG."""
    scale = _Scale(data)
    parts = [*_heading(data), *_grid(scale), *_faults(data, scale), *_curves(data, scale), *_changes(data, scale)]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(_spoken(data))}">\n<style>{_STYLE}</style>\n'
        f'<rect class="ground" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>\n{body}\n</svg>\n'
    )


class _Scale:
    """From seconds and requests/s to places in the drawing."""

    def __init__(self, data: ReportData) -> None:
        self.seconds = data.duration_s
        shown = (data.optimum, data.governed.goodput, data.ungoverned.goodput)
        self.most = 1.08 * max((value for series in shown for value in series if value is not None), default=0.0)
        self.most = self.most or 1.0

    def x(self, second: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * min(max(second / self.seconds, 0.0), 1.0), 1)

    def y(self, rate: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * rate / self.most, 1)


def _spoken(data: ReportData) -> str:
    shares = ", ".join(f"{arm} {_overall(data, arm)}" for arm in ARMS)
    return f"Answers in time each second through {len(data.findings)} faults: {shares} of the best possible"


def _overall(data: ReportData, arm: ArmName) -> str:
    return percent_or_unknown(overall_share(data, data.governed if arm == "governed" else data.ungoverned))


def _heading(data: ReportData) -> Iterator[str]:
    yield _text(20, 31, "Answers in time each second: the same load and faults, ungoverned and governed", "big")
    x = 20
    for arm in ARMS:
        yield f'<path class="{arm} line" d="M{x} 51h30"/>'
        yield _text(x + 38, 55.5, f"{arm}: {_overall(data, arm)} of the best possible", arm)
        x += 310
    yield f'<rect class="best" x="{x}" y="45" width="30" height="12"/>'
    yield _text(x + 38, 55.5, "the best possible", "soft")


def _grid(scale: _Scale) -> Iterator[str]:
    step = next((s for s in STEPS if scale.seconds / s <= 10), STEPS[-1])
    for second in range(0, int(scale.seconds) + 1, step):
        yield _text(scale.x(second), BOTTOM + 17, f"{second} s", "soft", "middle")
    rise = next((s for s in (10, 20, 50, 100, 200, 500, 1000) if scale.most / s <= 5), 2000)
    for rate in range(0, int(scale.most) + 1, rise):
        yield f'<path class="grid" d="M{LEFT} {scale.y(rate)}H{RIGHT}"/>'
        yield _text(LEFT - 7, scale.y(rate) + 4.5, f"{rate}/s", "soft", "end")


def _faults(data: ReportData, scale: _Scale) -> Iterator[str]:
    starts = [scale.x(fault.start_s) for fault in data.faults]
    for number, (finding, left, after) in enumerate(
        zip(data.findings, starts, [*starts[1:], RIGHT], strict=True)
    ):
        right = scale.x(finding.fault.end_s)
        yield f'<rect class="fault" x="{left}" y="{TOP}" width="{right - left:.1f}" height="{BOTTOM - TOP}"/>'
        room = max(int((after - left) / CHARACTER), 12)
        lines = textwrap.wrap(f"{number + 1}  {finding.fault.label}", room)[:2]
        for line, text in enumerate(lines):
            yield _text(left, TOP - 6 - 16 * (len(lines) - 1 - line), text)
        for line, arm in enumerate(ARMS):
            yield _text(left, BOTTOM + 80 + 18 * line, f"{arm} {_shares(finding, arm)}", arm)


def _shares(finding: Finding, arm: ArmName) -> str:
    score = finding.governed if arm == "governed" else finding.ungoverned
    return f"{percent_or_unknown(score.share)}, after it {percent_or_unknown(score.share_after)}"


def _curves(data: ReportData, scale: _Scale) -> Iterator[str]:
    best = _path(data.optimum, scale)
    if best:
        yield f'<path class="best" d="{best}L{scale.x(len(data.optimum) - 0.5)} {BOTTOM}H{scale.x(0.5)}Z"/>'
    arms: tuple[Arm, ...] = (data.ungoverned, data.governed)
    for arm in arms:
        yield f'<path class="{arm.name} line" d="{_path(arm.goodput, scale)}"/>'


def _path(series: Series, scale: _Scale) -> str:
    """Through the middle of each second; a second without a value is a gap."""
    parts = []
    for (_, before), (second, value) in pairwise([(-1, None), *enumerate(series)]):
        if value is not None:
            parts.append(f"{'M' if before is None else 'L'}{scale.x(second + 0.5)} {scale.y(value)}")
    return "".join(parts)


def _changes(data: ReportData, scale: _Scale) -> Iterator[str]:
    yield _text(LEFT - 7, BOTTOM + 50, "changes", "soft", "end")
    for decision in data.decisions:
        yield f'<path class="change" d="M{scale.x(decision.at_s)} {BOTTOM + 38}v14"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
