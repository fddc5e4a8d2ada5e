"""Small histories and small models, so that a whole job takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from governor.predict.history import RateHistory
from governor.train.fit import Shape
from governor.train.job import Job, Outcome, train
from governor.train.series import Series

END = 1_700_000_000 // 300 * 300.0
SMALL = Job(
    rows=3000,
    shape=Shape(trees=60, leaves=15, rows_in_leaf=20, rate=0.15, bins=32),
    source="made up; public domain",
)


def quiet(_step: str, _done: int, _of: int) -> None:
    """Progress that nobody looks at."""


def days(count: float, services: int = 4, noise: float = 0.03, seed: int = 0) -> list[Series]:
    """Daily waves in steps of five minutes with a little noise."""
    rng = np.random.default_rng(seed)
    at = END - 300.0 * np.arange(int(count * 288))[::-1]
    return [
        Series(
            f"s{i}",
            "made up",
            RateHistory(
                (
                    100
                    * (1 + 0.6 * np.sin(2 * np.pi * at / 86_400 + i))
                    * np.exp(noise * rng.standard_normal(len(at)))
                ).astype(np.float32)[None],
                END,
                300.0,
            ),
        )
        for i in range(services)
    ]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A store that a job has filled, and what it said; never written to by tests."""
    models = tmp_path_factory.mktemp("models")
    return models, train(days(8), models, SMALL, quiet)
