"""The card's drawings: coverage of the 80 % band and loss by minutes ahead, one line for each group of series.

SVG written by hand: two lines of paths are no reason for a drawing library. Each brings its own background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from governor.train.score import pinball
from governor.train.windows import Quantiles, Windows

COVERAGE_PLOT, LOSS_PLOT = "coverage.svg", "loss.svg"
BAND = 0.8
WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 470, 40, 240
COLOURS = ("#0072b2", "#c24e00", "#007a5a", "#9a4f86", "#7a6300", "#444444")
"""Told apart with any colour vision; the seventh group begins again."""
Curve = Sequence[tuple[float, float]]
"""Minutes ahead and value."""


def plots(windows: Sequence[Windows], said: Sequence[Quantiles]) -> dict[str, bytes]:
    """File name to SVG of the forecasts `said`, one array for each of `windows`."""
    coverage: dict[str, Curve] = {}
    loss: dict[str, Curve] = {}
    for group in sorted({one.series.group for one in windows}):
        chosen = [pair for pair in zip(windows, said, strict=True) if pair[0].series.group == group]
        sums: dict[float, NDArray[np.float64]] = {}
        for one, quantiles in chosen:
            for h, minutes in enumerate(one.horizons_min):
                found = _sums(one.actual[one.scored, h], quantiles[one.scored, h])
                sums[float(minutes)] = sums.get(float(minutes), np.zeros(4)) + found
        known = [(minutes, found) for minutes, found in sorted(sums.items()) if found[0] > 0 and found[3] > 0]
        coverage[group] = [(minutes, float(found[1] / found[0])) for minutes, found in known]
        loss[group] = [(minutes, float(found[2] / found[3])) for minutes, found in known]
    return {
        COVERAGE_PLOT: drawing(
            "Share of outcomes within the 80 % band, by minutes ahead", coverage, BAND
        ).encode(),
        LOSS_PLOT: drawing("Weighted quantile loss, by minutes ahead", loss, None).encode(),
    }


def _sums(actual: NDArray[np.float64], quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) outcomes, those within the band, their loss and their size, of (O,) and (O, Q)."""
    told = np.isfinite(actual)
    y, q = actual[told], quantiles[told]
    inside = (y >= q[:, 0]) & (y <= q[:, -1])
    return np.array([len(y), inside.sum(), pinball(y, q).sum(), np.abs(y).sum()], np.float64)


def drawing(title: str, curves: Mapping[str, Curve], mark: float | None) -> str:
    """A line chart as SVG; `mark` is drawn as a dashed line across. A group of one point is a dot."""
    points = [point for curve in curves.values() for point in curve]
    widest = max((minutes for minutes, _ in points), default=60.0)
    most = max([1.0 if mark is not None else 0.0, *(1.1 * value for _, value in points)]) or 1.0

    def place(minutes: float, value: float) -> str:
        return f"{LEFT + (RIGHT - LEFT) * minutes / widest:.1f} {BOTTOM - (BOTTOM - TOP) * value / most:.1f}"

    parts = [_text(LEFT, 24, title)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = BOTTOM - (BOTTOM - TOP) * share
        parts.append(f'<path d="M{LEFT} {height:.1f}H{RIGHT}" stroke="#e1e5ea"/>')
        parts.append(_text(LEFT - 6, height + 4, f"{most * share:.2g}", "end"))
        parts.append(_text(LEFT + (RIGHT - LEFT) * share, BOTTOM + 18, f"{widest * share:g}", "middle"))
    if mark is not None:
        parts.append(f'<path d="M{place(0.0, mark)}H{RIGHT}" stroke="#55606d" stroke-dasharray="6 4"/>')
    for number, (group, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(place(*point) for point in curve)
        if len(curve) == 1:
            x, y = path.split()
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        elif curve:
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        height = TOP + 20 * number
        parts.append(f'<path d="M{RIGHT + 16} {height}h20" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(RIGHT + 42, height + 4, group))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-family="sans-serif" font-size="12" '
        f'fill="#1b232c">{escape(text)}</text>'
    )
