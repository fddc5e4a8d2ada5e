"""A challenger against the naive forecasts and the model in use, on time that none of them was fitted on.

It wins if its loss is smaller than that of each other method over all groups (geometric mean, each group once),
if no group shows it to be worse (the 90 % interval of the ratio lies above one), and if its band holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from governor.predict.model import TrainedForecast
from governor.train.interval import Interval, interval, losses_by_day
from governor.train.score import Score, score
from governor.train.windows import Quantiles, Windows, model_quantiles

COVERAGE = (0.72, 0.88)
"""Pooled share within the 80 % band that a model must keep to in every group."""
CHALLENGER, CHAMPION, NAIVE, SEASONAL = "challenger", "champion", "naive", "seasonal naive"
Scores = Mapping[str, Mapping[str, Score]]
"""Group (and group + UNSEEN: only series that took no part in the training) to method to score."""
Intervals = Mapping[str, Mapping[str, Interval]]
"""Group to other method to the challenger's loss over that method's."""
UNSEEN = ", series unseen"


@dataclass(frozen=True)
class Contest:
    """Outcome: whether the challenger may serve, and why not."""

    scores: Scores
    intervals: Intervals
    lost: tuple[str, ...]
    """Reasons against it; empty if it won."""
    said: tuple[Quantiles, ...] = ()
    """What the challenger forecast, one array for each of the windows."""

    @property
    def won(self) -> bool:
        """Whether the challenger is to be promoted."""
        return not self.lost


def contest(windows: Sequence[Windows], challenger: TrainedForecast, champion: TrainedForecast | None) -> Contest:
    """Score all, group by group."""
    said: dict[str, list[Quantiles]] = {
        CHALLENGER: [model_quantiles(one, challenger.model, challenger.prior) for one in windows],
        NAIVE: [one.naive for one in windows],
        SEASONAL: [one.seasonal for one in windows],
    }
    if champion is not None:
        said[CHAMPION] = [model_quantiles(one, champion.model, champion.prior) for one in windows]
    scores: dict[str, dict[str, Score]] = {}
    intervals: dict[str, dict[str, Interval]] = {}
    for group in sorted({one.series.group for one in windows}):
        for label, only_unseen in ((group, False), (group + UNSEEN, True)):
            chosen = [
                i
                for i, one in enumerate(windows)
                if one.series.group == group and (one.unseen or not only_unseen)
            ]
            group_windows = [windows[i] for i in chosen]
            of_methods = {method: [quantiles[i] for i in chosen] for method, quantiles in said.items()}
            of_group = {
                method: found
                for method, quantiles in of_methods.items()
                if (found := score(group_windows, quantiles)) is not None
            }
            if of_group:
                scores[label] = of_group
                losses = {method: losses_by_day(group_windows, of_methods[method]) for method in of_group}
                intervals[label] = {
                    method: interval(losses[CHALLENGER], theirs)
                    for method, theirs in losses.items()
                    if method != CHALLENGER
                }
    return Contest(scores, intervals, tuple(_lost(scores, intervals)), tuple(said[CHALLENGER]))


def ratio(intervals: Intervals, method: str) -> float:
    """The challenger's loss over `method`'s, geometric mean over the groups; below one: it is better."""
    logs = [np.log(found[method].ratio) for group, found in intervals.items() if not group.endswith(UNSEEN)]
    return float(np.exp(np.mean(logs)))


def _lost(scores: Scores, intervals: Intervals) -> list[str]:
    if not scores:
        return ["there was nothing to score: too little of the held-back time is known"]
    reasons = []
    for method in sorted({method for found in intervals.values() for method in found}):
        if (overall := ratio(intervals, method)) >= 1.0:
            reasons.append(f"it does not beat {method}: its loss is {overall:.3f} times as large")
        reasons += [
            f"it loses to {method} on {group}: its loss is {found[method].ratio:.3f} times as large "
            f"({found[method].low:.3f} to {found[method].high:.3f} over resampled days)"
            for group, found in intervals.items()
            if found[method].low >= 1.0
        ]
    low, high = COVERAGE
    for group, of_group in scores.items():
        share = of_group[CHALLENGER].coverage
        if not group.endswith(UNSEEN) and not low <= share <= high:
            reasons.append(
                f"its 80 % band holds {share:.1%} of the outcomes of {group}, not {low:.0%} to {high:.0%}"
            )
    return reasons
