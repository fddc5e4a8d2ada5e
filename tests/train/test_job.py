"""The whole job, small: what it makes, when it makes nothing, and that it makes the same again."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from governor.adapters.model_manifest import FORECAST, MANIFEST, read_manifest
from governor.adapters.model_store import REQUIRED, load_forecast
from governor.errors import TrainingError
from governor.predict.features import features
from governor.train.backend import LocalBackend
from governor.train.fit import Shape
from governor.train.job import Outcome, train
from governor.train.plots import COVERAGE_PLOT, LOSS_PLOT

from .conftest import SMALL, days, quiet

pytestmark = pytest.mark.timeout(180)
Trained = tuple[Path, Outcome]


def contents(models: Path) -> dict[str, bytes]:
    return {str(path.relative_to(models)): path.read_bytes() for path in models.rglob("*") if path.is_file()}


def test_a_winner_is_in_use_and_can_be_loaded(trained: Trained) -> None:
    models, outcome = trained
    assert outcome.promoted, outcome.contest.lost
    folder = models / FORECAST / outcome.version
    assert {path.name for path in folder.iterdir()} == REQUIRED | {COVERAGE_PLOT, LOSS_PLOT}
    model = load_forecast(models)
    assert model.name == f"{FORECAST}/{outcome.version}"
    made = features(days(8)[0].history, (5.0, 60.0))
    quantiles = model.model.predict(made.rows)
    assert quantiles.shape == (2, 3)
    assert np.isfinite(quantiles).all()
    entry = read_manifest(models).models[FORECAST]
    assert (entry.trained.series, entry.trained.seed, entry.trained.source) == (3, 0, SMALL.source)
    assert entry.trained.begin < entry.trained.end < "2023-11-15"


def test_the_card_has_the_figures_and_no_place_of_this_machine(trained: Trained) -> None:
    models, outcome = trained
    card = (models / FORECAST / outcome.version / "card.md").read_text()
    assert card == outcome.card
    for needed in (
        SMALL.source,
        "naive",
        "seasonal naive",
        "all groups",
        "scikit-learn",
        COVERAGE_PLOT,
        LOSS_PLOT,
    ):
        assert needed in card
    (ratio,) = re.findall(r"\| all groups \| ([0-9.]+) \|", card)
    scores = outcome.contest.scores["made up"]
    assert float(ratio) == pytest.approx(scores["challenger"].wql / scores["naive"].wql, abs=6e-4)
    assert str(models) not in card


def test_the_same_series_and_seed_give_the_same_bytes_in_other_processes_too(
    trained: Trained, tmp_path: Path
) -> None:
    models, outcome = trained
    again = train(days(8), tmp_path, replace(SMALL, backend=LocalBackend(jobs=2)), quiet)
    assert again.version == outcome.version
    assert contents(tmp_path) == contents(models)


def test_another_seed_gives_another_model(trained: Trained, tmp_path: Path) -> None:
    _, outcome = trained
    assert train(days(8), tmp_path, replace(SMALL, seed=1), quiet).version != outcome.version


def test_the_champion_stays_where_the_challenger_is_worse(trained: Trained, tmp_path: Path) -> None:
    first = trained[1]
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path)
    assert first.no_champion is not None
    second = train(days(8), tmp_path, replace(SMALL, shape=Shape(trees=2, rate=0.1)), quiet)
    assert not second.promoted
    assert second.no_champion is None
    assert any("does not beat champion" in reason for reason in second.contest.lost)
    assert contents(tmp_path) == before


def test_a_model_that_has_learned_nothing_is_not_promoted_and_leaves_no_trace(tmp_path: Path) -> None:
    outcome = train(days(8), tmp_path, replace(SMALL, shape=Shape(trees=1, leaves=2, rate=0.01)), quiet)
    assert not outcome.promoted
    assert outcome.contest.lost
    assert list(tmp_path.iterdir()) == []


def test_ten_minutes_of_history_say_what_is_missing_and_when_to_come_back(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="spans 10 min") as caught:
        train(days(2 / 288), tmp_path, SMALL, quiet)
    assert "48 h are needed; 47 h 50 min are missing" in str(caught.value)
    assert "Come back at 2023-11-16 22:" in str(caught.value)
    assert "the baseline serves" in str(caught.value)


def test_a_history_of_gaps_is_an_error(tmp_path: Path) -> None:
    empty = [
        replace(one, history=replace(one.history, values=np.full((1, 2304), np.nan, np.float32)))
        for one in days(8)
    ]
    with pytest.raises(TrainingError, match="gaps throughout"):
        train(empty, tmp_path, SMALL, quiet)


def test_progress_is_told_of_every_step_to_its_end(tmp_path: Path) -> None:
    heard: dict[str, tuple[int, int]] = {}
    train(days(3, services=2), tmp_path, SMALL, lambda step, done, of: heard.update({step: (done, of)}))
    assert list(heard) == ["rows", "calibration rows", "rows of crowds", "fit", "score"]
    assert all(done == of for done, of in heard.values())


@pytest.mark.parametrize("step", ["fit", "score"])
def test_ctrl_c_leaves_the_store_as_it_was(trained: Trained, step: str) -> None:
    models, _ = trained
    before = contents(models)

    def stop(name: str, _done: int, _of: int) -> None:
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(days(8, seed=5), models, SMALL, stop)
    assert contents(models) == before


def test_a_damaged_champion_is_told_and_replaced(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{")
    outcome = train(days(8), tmp_path, SMALL, quiet)
    assert outcome.no_champion is not None
    assert "is not JSON" in outcome.no_champion
    assert outcome.promoted, outcome.contest.lost
    assert json.loads((tmp_path / MANIFEST).read_text())["models"][FORECAST]["version"] == outcome.version
