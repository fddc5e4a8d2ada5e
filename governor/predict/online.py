"""What the forecast learns while it serves: the weights of the experts and the width of the band, per service.

begin -> forecast -> (an outcome becomes known) -> learn -> forecast ...      carried, when services come and go
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor import rows
from governor.predict import calibration, mixture
from governor.predict.model import Prior

SURPRISED = 0.4
"""Share of the horizons; one in five misses by design."""


@dataclass(frozen=True, eq=False)
class Online:
    """State for S services and H horizons."""

    mixture: mixture.Mixture
    calibration: calibration.Calibration
    missed: NDArray[np.bool_]
    """(S, H) whether the newest outcome lay beyond its band."""

    @property
    def surprised(self) -> NDArray[np.bool_]:
        """(S,) whether the newest outcomes of more than SURPRISED of the horizons lay beyond their bands."""
        return np.asarray(self.missed.mean(axis=1) > SURPRISED, np.bool_)


@dataclass(frozen=True, eq=False)
class Told:
    """What was said of S services at H horizons, as far as learning from it goes."""

    model: NDArray[np.float64]
    """(S, H, 3) the model's own quantiles in z; NaN where there was no model or no level."""
    centres: NDArray[np.float64]
    """(S, H, mixture.CENTRES) in z."""
    level: NDArray[np.float64]
    """(S,) what z is relative to."""
    surprised: NDArray[np.bool_]
    """(S,) `Online.surprised` when it was said."""


def begin(prior: Prior, services: int, horizons_min: Sequence[float]) -> Online:
    """State of services without any outcome of their own."""
    return Online(
        mixture.begin(services, len(horizons_min)),
        calibration.begin(prior, services, horizons_min),
        np.zeros((services, len(horizons_min)), np.bool_),
    )


def quantiles(state: Online, told: Told) -> NDArray[np.float64]:
    """(S, H, 3) mixed and calibrated, in z."""
    return calibration.calibrated(state.calibration, _mixed(state, told))


def learn(state: Online, told: Told, outcome: NDArray[np.floating]) -> Online:
    """The state after the outcomes (S, H) in z of `told`; NaN teaches nothing."""
    said = _mixed(state, told)
    band = calibration.calibrated(state.calibration, said)
    with np.errstate(invalid="ignore"):
        missed = (outcome < band[..., 0]) | (outcome > band[..., 2])
    return Online(
        mixture.learn(state.mixture, told.model, told.centres, outcome, told.level, told.surprised),
        calibration.learn(state.calibration, said, outcome),
        np.where(np.isfinite(outcome) & np.isfinite(said).all(axis=-1), missed, state.missed),
    )


def _mixed(state: Online, told: Told) -> NDArray[np.float64]:
    return mixture.mixed(state.mixture, told.model, told.centres, told.surprised)


def carried(state: Online, fresh: Online, old: Sequence[str], new: Sequence[str]) -> Online:
    """State of the services `new` out of that of `old`: who stays keeps its own, who is new has that of `fresh`.

    `fresh` is what `begin` says of the services `new`; one that goes and comes back begins anew.
    """
    source = rows.sources(old, new)
    names = {
        "mixture": ("offsets", "errors", "losses", "scale", "outcomes"),
        "calibration": ("misses", "offsets", "coverage", "outcomes"),
    }
    parts = {
        part: replace(
            getattr(fresh, part),
            **{
                name: rows.carried(
                    getattr(getattr(state, part), name), getattr(getattr(fresh, part), name), source
                )
                for name in of_part
            },
        )
        for part, of_part in names.items()
    }
    return Online(**parts, missed=rows.carried(state.missed, fresh.missed, source))
