"""A trained forecast without training: no change, in a band of a tenth either way."""

from __future__ import annotations

import numpy as np

from governor.domain import FloatArray
from governor.predict.history import RateHistory
from governor.predict.model import Prior, TrainedForecast

STEP_S = 300.0
DAY = 288


class NoChange:
    """QuantileModel."""

    def predict(self, rows: FloatArray) -> FloatArray:
        return np.tile(np.array([-0.1, 0.0, 0.1], np.float32), (len(rows), 1))


def trained() -> TrainedForecast:
    scores = np.tile(np.linspace(-0.1, 0.1, 100, dtype=np.float32), (2, 2, 1))
    return TrainedForecast("fake", NoChange(), Prior((30.0, 60.0), scores))


def history(values: np.ndarray, end_at: float = 1.7e9) -> RateHistory:
    return RateHistory(np.atleast_2d(values).astype(np.float32), end_at, STEP_S)


def daily(days: float = 9.0, services: int = 3, seed: int = 0) -> np.ndarray:
    """(S, T) rates with a daily wave and noise, of very different sizes."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(days * DAY))
    wave = 1.0 + 0.5 * np.sin(2.0 * np.pi * t / DAY)
    return 10.0 ** np.arange(services)[:, None] * wave * rng.gamma(50.0, 0.02, (services, len(t)))
