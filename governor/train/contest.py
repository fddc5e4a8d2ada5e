"""A challenger against the naive forecasts and the model in use, on time that none of them was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from governor.predict.model import TrainedForecast
from governor.train.score import Score, score
from governor.train.windows import Quantiles, Windows, model_quantiles

COVERAGE = (0.72, 0.88)
"""Pooled share within the 80 % band that a model must keep to in every group."""
CHALLENGER, CHAMPION, NAIVE, SEASONAL = "challenger", "champion", "naive", "seasonal naive"
Scores = Mapping[str, Mapping[str, Score]]
"""Group (and group + UNSEEN: only series that took no part in the training) to method to score."""
UNSEEN = ", series unseen"


@dataclass(frozen=True)
class Contest:
    """Outcome: whether the challenger may serve, and why not."""

    scores: Scores
    lost: tuple[str, ...]
    """Reasons against it; empty if it won."""
    said: tuple[Quantiles, ...] = ()
    """What the challenger forecast, one array for each of the windows."""

    @property
    def won(self) -> bool:
        """Whether the challenger is to be promoted."""
        return not self.lost


def contest(windows: Sequence[Windows], challenger: TrainedForecast, champion: TrainedForecast | None) -> Contest:
    """Score all, group by group; the challenger must beat each other method in every one, and keep its band."""
    said: dict[str, list[Quantiles]] = {
        CHALLENGER: [model_quantiles(one, challenger.model, challenger.prior) for one in windows],
        NAIVE: [one.naive for one in windows],
        SEASONAL: [one.seasonal for one in windows],
    }
    if champion is not None:
        said[CHAMPION] = [model_quantiles(one, champion.model, champion.prior) for one in windows]
    scores: dict[str, dict[str, Score]] = {}
    for group in sorted({one.series.group for one in windows}):
        for label, only_unseen in ((group, False), (group + UNSEEN, True)):
            chosen = [
                i
                for i, one in enumerate(windows)
                if one.series.group == group and (one.unseen or not only_unseen)
            ]
            of_group = {
                method: found
                for method, quantiles in said.items()
                if (found := score([windows[i] for i in chosen], [quantiles[i] for i in chosen])) is not None
            }
            if of_group:
                scores[label] = of_group
    return Contest(scores, tuple(_lost(scores, said.keys() - {CHALLENGER})), tuple(said[CHALLENGER]))


def ratio(scores: Scores, method: str) -> float:
    """The challenger's WQL over `method`'s, geometric mean over the groups; below one: it is better."""
    logs = [np.log(_over(of_group, method)) for group, of_group in scores.items() if not group.endswith(UNSEEN)]
    return float(np.exp(np.mean(logs)))


def _over(of_group: Mapping[str, Score], method: str) -> float:
    """The challenger's WQL over that of `method` in one group."""
    return max(of_group[CHALLENGER].wql, 1e-12) / max(of_group[method].wql, 1e-12)


def _lost(scores: Scores, others: set[str]) -> list[str]:
    if not scores:
        return ["there was nothing to score: too little of the held-back time is known"]
    reasons = [
        f"it does not beat {method} on {group}: its loss is {found:.3f} times as large"
        for group, of_group in scores.items()
        for method in sorted(others & of_group.keys())
        if (found := _over(of_group, method)) >= 1.0
    ]
    low, high = COVERAGE
    for group, of_group in scores.items():
        share = of_group[CHALLENGER].coverage
        if not group.endswith(UNSEEN) and not low <= share <= high:
            reasons.append(
                f"its 80 % band holds {share:.1%} of the outcomes of {group}, not {low:.0%} to {high:.0%}"
            )
    return reasons
