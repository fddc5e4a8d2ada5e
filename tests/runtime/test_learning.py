"""The model and the load history reach the cycles, and what goes wrong with them is told."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable

import numpy as np
import pytest

from governor.errors import SourceUnreachable
from governor.explain.report import Advice
from governor.learned import LearnedOptions, LearnedState
from governor.policy import load_policies
from governor.predict.demand import Demand
from governor.predict.history import RateHistory
from governor.predict.model import TrainedForecast
from governor.runtime.learning import Learning, Past
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.runtime.web import application, serving
from governor.settings import HealthSettings
from governor.turn import CycleOptions, GovernorState
from tests.predict.test_demand import TRAINED

OPTIONS = CycleOptions(load_policies(["balanced"]), learned=LearnedOptions(step_s=300.0))
STARTED = GovernorState(learned=LearnedState(demand=Demand.begin(("a", "b"), 3_000.0, 300.0)))
PAST = (("b",), RateHistory(np.array([[1.0, 2.0]], np.float32), 3_000.0, 300.0))


class Store:
    """A ModelStore that says what it is told to."""

    def __init__(self, *said: tuple[TrainedForecast | None, str]) -> None:
        self.said = list(said)
        self.closed = False

    def current(self) -> tuple[TrainedForecast | None, str]:
        return self.said.pop(0) if len(self.said) > 1 else self.said[0]

    def close(self) -> None:
        self.closed = True


class Instance:
    def __init__(self, store: Store, past: Callable[[], Past] | None = None) -> None:
        self.learning = Learning(store, past)
        self.metrics, self.status = GovernorMetrics("1", "recommend"), Status(15.0)

    def before(self, state: GovernorState = STARTED) -> tuple[GovernorState, CycleOptions]:
        return self.learning.before(state, OPTIONS, self.metrics, self.status)

    def metric(self, line: str) -> bool:
        return line in self.metrics.exposition().decode().splitlines()


def test_each_cycle_gets_the_model_in_force() -> None:
    instance = Instance(Store((None, "models/manifest.json: is not there"), (TRAINED, "")))
    _, options = instance.before()
    assert options.trained is None
    assert instance.metric("governor_model_refused 1.0")
    assert instance.metric('governor_model_info{name="none"} 1.0')
    _, options = instance.before()
    assert options.trained is TRAINED
    assert instance.metric("governor_model_refused 0.0")
    assert instance.metric('governor_model_info{name="doubling/1"} 1.0')
    assert not instance.metric('governor_model_info{name="none"} 1.0')


def test_a_refused_model_is_a_detail_of_readiness_and_no_reason_to_be_unready() -> None:
    instance = Instance(Store((TRAINED, "doubling/1 stays in use: model.onnx: is not what the manifest says")))
    instance.before()
    instance.status.succeeded(Advice(0.0, 15.0, (), ()))
    page = application(instance.status, instance.metrics)
    with (
        serving(page, HealthSettings(port=0)) as address,
        urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer,
    ):
        assert answer.status == 200
        assert json.load(answer)["models"].startswith("doubling/1 stays in use")


def test_a_refusal_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    instance = Instance(Store((None, "bad file")))
    for _ in range(3):
        instance.before()
    said = capsys.readouterr()
    assert (said.out + said.err).count("bad file") == 1


def test_the_load_before_the_start_is_taken_up_once_it_is_there() -> None:
    there = threading.Event()

    def slow() -> Past:
        there.wait(10.0)
        return PAST

    instance = Instance(Store((None, "none")), slow)
    state, _ = instance.before()
    assert state.learned.demand is not None
    assert state.learned.demand.history is None
    there.set()
    wait_for("history")
    state, _ = instance.before(state)
    assert state.learned.demand is not None
    assert state.learned.demand.history is not None
    assert state.learned.demand.history.values[1, -2:].tolist() == [1.0, 2.0]
    again, _ = instance.before(state)
    assert again is state


def test_a_source_without_a_history_costs_only_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Past:
        raise SourceUnreachable("http://127.0.0.1:9 did not answer")

    instance = Instance(Store((None, "none")), broken)
    wait_for("history")
    state, _ = instance.before()
    assert state is STARTED
    said = capsys.readouterr()
    assert "http://127.0.0.1:9 did not answer" in said.out + said.err


def test_a_fault_of_ours_is_not_hidden() -> None:
    def wrong() -> Past:
        raise ZeroDivisionError

    instance = Instance(Store((None, "none")), wrong)
    wait_for("history")
    with pytest.raises(ZeroDivisionError):
        instance.before()


def test_the_store_is_closed() -> None:
    store = Store((None, "none"))
    Instance(store).learning.close()
    assert store.closed


def wait_for(name: str) -> None:
    """Until the thread of that name has ended."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(10.0)
