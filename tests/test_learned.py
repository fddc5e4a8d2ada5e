"""What the learned stages tell the laws, and what the cycle records of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from governor.detect.stage import Options
from governor.domain import MeshFrame
from governor.learned import Learned, LearnedOptions, LearnedState, learn
from governor.predict.demand import MOST
from tests.decide.situations import chain, frame
from tests.predict.test_demand import TRAINED, drifted

INDEX = chain()
OPTIONS = LearnedOptions(Options(), step_s=60.0)
BACK, FRONT = INDEX.services.index("back"), INDEX.services.index("front")


WARM = 300


def window(number: int, rate: float = 200.0, slow: float = 1.0) -> MeshFrame:
    wobble = np.random.default_rng(number).normal(1.0, 0.02, (3, 2))
    edge = {
        "rate": rate * wobble[0],
        "latency_mean": np.array([0.03, 0.02]) * slow * wobble[1],
        "latency_p99": np.array([0.09, 0.06]) * slow * wobble[2],
    }
    return replace(frame(INDEX, edge=edge), at=15.0 * number)


def through(frames: list[MeshFrame], **given: object) -> list[Learned]:
    state, found = LearnedState(), []
    for one in frames:
        state, learned = learn(state, one, given.get("trained"), OPTIONS)  # type: ignore[arg-type]
        found.append(learned)
    return found


def test_a_calm_mesh_tells_the_laws_nothing() -> None:
    outlook = through([window(n) for n in range(40)])[-1].outlook
    assert (outlook.growth == 1.0).all()
    assert not outlook.abnormal.any()
    assert not outlook.victim.any()


def test_a_slow_callee_reaches_the_laws_and_the_reader() -> None:
    frames = [window(n) for n in range(WARM)]
    bad = replace(window(WARM), edge=replace(window(WARM, slow=10.0).edge, rate=frames[-1].edge.rate))
    learned = through([*frames, bad])[-1]
    assert learned.outlook.abnormal.all()
    assert learned.findings.causes[0].symptom == "front"
    assert learned.findings.anomalies


def test_load_that_a_model_sees_coming_widens_demand() -> None:
    learned = through([window(n) for n in range(160)], trained=TRAINED)[-1]
    assert np.nanmax(learned.outlook.growth) > 1.5
    assert np.nanmax(learned.outlook.growth) <= MOST
    assert {load.service for load in learned.findings.loads} >= {"front"}
    assert "model" in learned.findings.loads[0].served_by


def test_drift_is_told_once_a_service() -> None:
    state, said = LearnedState(), []
    for number in range(320):
        if number == 300:
            assert state.demand is not None
            state = replace(state, demand=drifted(state.demand))
        state, learned = learn(state, window(number), TRAINED, OPTIONS)
        said += learned.notes
    assert sorted(note.split(":")[0] for note in said) == ["load forecast of back", "load forecast of front"]
    assert "drifted" in said[0]


def test_finer_frames_within_a_window_are_looked_at() -> None:
    frames = [window(n) for n in range(WARM)]
    whole = [replace(frames[n + 4], within=tuple(frames[n : n + 4])) for n in range(0, WARM, 5)]
    bad = window(WARM, slow=10.0)
    assert through([*whole, bad])[-1].findings.anomalies
    assert not through([*(replace(f, within=()) for f in whole), bad])[-1].findings.anomalies
