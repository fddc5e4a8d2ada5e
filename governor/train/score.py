"""How good forecasts are: weighted quantile loss and coverage.

WQL = mean over q of  2 * sum of pinball_q / sum of |actual|,  pooled over the series of a group.
Source: Gneiting 2011 for the pinball loss; Salinas et al., DeepAR, 2020 for the weighting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.predict.model import QUANTILES
from governor.train.windows import Quantiles, Windows


@dataclass(frozen=True)
class Score:
    """One method on one group of series."""

    wql: float
    coverage: float
    """Share of outcomes within the 80 % band."""
    coverage_by_series: Mapping[str, float]
    wql_by_series: Mapping[str, float]
    outcomes: int

    @property
    def coverage_range(self) -> tuple[float, float]:
        """Least and most over the series."""
        shares = self.coverage_by_series.values()
        return min(shares), max(shares)


def score(windows: Sequence[Windows], said: Sequence[Quantiles]) -> Score | None:
    """The score of the forecasts `said`, one array for each of `windows`; None if nothing can be scored."""
    losses, loads, hits = [], [], []
    names = []
    for one, quantiles in zip(windows, said, strict=True):
        actual = one.actual[one.scored]
        told = np.isfinite(actual)
        if not told.any():
            continue
        y, q = actual[told], quantiles[one.scored][told]
        names.append(one.series.name)
        losses.append(pinball(y, q).sum())
        loads.append(np.abs(y).sum())
        hits.append((y >= q[:, 0]) & (y <= q[:, -1]))
    if not names or not sum(loads):
        return None
    return Score(
        float(sum(losses) / sum(loads)),
        float(np.concatenate(hits).mean()),
        {name: float(hit.mean()) for name, hit in zip(names, hits, strict=True)},
        {name: float(s / w) for name, s, w in zip(names, losses, loads, strict=True) if w > 0.0},
        sum(len(hit) for hit in hits),
    )


def pinball(actual: NDArray[np.float64], quantiles: Quantiles) -> NDArray[np.float64]:
    """(N,) twice the pinball loss, mean over QUANTILES, of (N, Q) quantiles."""
    q = np.asarray(QUANTILES)
    error = actual[:, None] - quantiles
    return np.asarray(2.0 * np.maximum(q * error, (q - 1.0) * error).mean(axis=1))
