"""card.md: what a model was trained on, how good it was on held-back time, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from governor.adapters.model_manifest import Trained
from governor.predict.features import NAMES, feature_hash
from governor.train.contest import CHALLENGER, Contest, ratio
from governor.train.dataset import CROWDED
from governor.train.fit import Shape
from governor.train.interval import Interval
from governor.train.plots import COVERAGE_PLOT, LOSS_PLOT
from governor.train.score import Score
from governor.train.series import Split


@dataclass(frozen=True)
class Facts:
    """What the job knows beside the scores."""

    trained: Trained
    held_out: int
    libraries: Mapping[str, str]
    champion: bool
    """Whether there was a model in use to compare with."""


def card(facts: Facts, result: Contest, split: Split, shape: Shape) -> str:
    """The page, in Markdown; the same job gives the same page."""
    others = sorted({method for of_group in result.scores.values() for method in of_group} - {CHALLENGER})
    lines = [
        *_origin(facts, split, shape),
        *_figures(result, others),
        f"![Coverage of the band by minutes ahead]({COVERAGE_PLOT})",
        f"![Loss by minutes ahead]({LOSS_PLOT})",
        "",
        "## Not for",
        "",
        (
            "Series whose values are no rates, horizons beyond an hour, and load that nothing in the past points "
            "to. A"
        ),
        "forecast may widen what the governor expects; it never cuts below what was measured.",
        "",
    ]
    return "\n".join(lines)


def _origin(facts: Facts, split: Split, shape: Shape) -> list[str]:
    trained = facts.trained
    return [
        "# Load forecast",
        "",
        f"Gradient-boosted quantile models (0.1, 0.5, 0.9; {shape.trees} trees of {shape.leaves} leaves) over",
        f"{len(NAMES)} features (hash {feature_hash()}), for up to 60 minutes ahead, on grids of 1, 5 and 60",
        "minutes.",
        "",
        f"* Data: {trained.source}",
        (
            f"* Fitted: {trained.rows:,} rows of {trained.series} series, origins from {trained.begin} to "
            f"{trained.end}, seed {trained.seed}"
        ),
        f"* Fitted as well: up to {CROWDED:.1%} as many rows of the same series with made-up flash crowds",
        f"* Scored only: {facts.held_out} further series",
        (
            f"* Of each series' time: fitted to {split.fit:.0%}, calibrated to {split.calibrate:.0%}, the "
            f"figures from {split.score:.0%} to {split.until:.0%}"
        ),
        f"* Made with {', '.join(f'{name} {number}' for name, number in sorted(facts.libraries.items()))}",
        *([] if facts.champion else ["* There was no model in use to compare with"]),
        "",
    ]


def _figures(result: Contest, others: list[str]) -> list[str]:
    lines = [
        "## On held-back time",
        "",
        "Every step up to the hour ahead, the bands calibrated online as the governor does it. WQL is the",
        "weighted quantile loss, smaller is better; coverage is the share within the 80 % band, pooled and from",
        "the worst to the best series.",
        "",
        "| group | method | WQL | coverage | by series | outcomes |",
        "|---|---|---|---|---|---|",
    ]
    for group, of_group in result.scores.items():
        lines += [_row(group, method, found) for method, found in of_group.items()]
    lines += [
        "",
        "This model's loss over that of the others, with the 90 % interval over resampled days (all groups:",
        "geometric mean, each group once):",
        "",
        f"| group |{''.join(f' {other} |' for other in others)}",
        f"|---|{'---|' * len(others)}",
    ]
    for group, found in result.intervals.items():
        lines.append(f"| {group} |{''.join(f' {_interval(found[other])} |' for other in others)}")
    if result.intervals:
        lines.append(f"| all groups |{''.join(f' {ratio(result.intervals, other):.3f} |' for other in others)}")
    return [*lines, ""]


def _interval(found: Interval) -> str:
    return f"{found.ratio:.3f} ({found.low:.3f} .. {found.high:.3f})"


def _row(group: str, method: str, found: Score) -> str:
    low, high = found.coverage_range
    shares = f"{low:.2f} .. {high:.2f}"
    name = "this model" if method == CHALLENGER else method
    return f"| {group} | {name} | {found.wql:.4f} | {found.coverage:.3f} | {shares} | {found.outcomes:,} |"
