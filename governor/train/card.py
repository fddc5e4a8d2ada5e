"""card.md: what a model was trained on, how good it was on held-back time, and what it must not be trusted with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from governor.predict.features import NAMES, feature_hash
from governor.train.contest import CHALLENGER, Contest, ratio
from governor.train.fit import Shape
from governor.train.score import Score
from governor.train.series import Split


@dataclass(frozen=True)
class Facts:
    """What the job knows beside the scores."""

    version: str
    seed: int
    series: int
    held_out: int
    rows: int
    at: tuple[float, float]


def card(facts: Facts, result: Contest, split: Split, shape: Shape) -> str:
    """The page, in Markdown; the same job gives the same page."""
    first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in facts.at)
    lines = [
        f"# Load forecast {facts.version}",
        "",
        f"Three gradient-boosted quantile models (0.1, 0.5, 0.9; {shape.trees} trees of {shape.leaves} leaves) over "
        f"{len(NAMES)} features",
        f"(hash {feature_hash()}), for up to 60 minutes ahead, on grids of 1, 5 and 60 minutes.",
        "",
        f"Trained on {facts.rows:,} rows of {facts.series - facts.held_out} series, origins from {first} to {last} UTC, "
        f"seed {facts.seed};",
        f"{facts.held_out} further series were only scored. Of each series' time the first {split.fit:.0%} were fitted, "
        f"up to {split.calibrate:.0%} calibrated;",
        "the figures are of the time after that, one forecast an hour, every step up to the hour ahead, the bands",
        "calibrated online as the governor does it.",
        "",
        "WQL is the weighted quantile loss, smaller is better; coverage is the share within the 80 % band, pooled and",
        "from the worst to the best series.",
        "",
        "| group | method | WQL | coverage | by series | outcomes |",
        "|---|---|---|---|---|---|",
    ]
    for group, of_group in result.scores.items():
        lines += [_row(group, method, found) for method, found in of_group.items()]
    others = sorted({method for of_group in result.scores.values() for method in of_group} - {CHALLENGER})
    lines += [
        "",
        *(f"WQL over that of {other}, all groups: {ratio(result.scores, other):.3f}." for other in others),
    ]
    lines += [
        "",
        "Not for: series whose values are no rates, horizons beyond an hour, and load that nothing in the past points",
        "to. A forecast may widen what the governor expects; it never cuts below what was measured.",
        "",
    ]
    return "\n".join(lines)


def _row(group: str, method: str, found: Score) -> str:
    low, high = found.coverage_range
    shares = f"{low:.2f} .. {high:.2f}"
    name = "this model" if method == CHALLENGER else method
    return f"| {group} | {name} | {found.wql:.4f} | {found.coverage:.3f} | {shares} | {found.outcomes:,} |"
