"""When the model serves."""

from __future__ import annotations

import numpy as np
import pytest

from governor.predict.calibration import begin
from governor.predict.gate import Gate, gates
from tests.predict.fake_model import DAY, history, trained


@pytest.mark.parametrize(
    ("known", "gate"), [(12, Gate.MODEL), (6, Gate.MODEL), (5, Gate.TOO_SHORT), (0, Gate.STALE)]
)
def test_a_new_service_gets_the_model_once_half_an_hour_is_known(known: int, gate: Gate) -> None:
    values = np.full((1, 8 * DAY), np.nan)
    values[0, 8 * DAY - known :] = 7.0
    state = begin(trained().prior, 1, [60.0])
    assert gates(history(values), state).tolist() == [gate]


def test_without_a_model_all_are_told_so() -> None:
    assert gates(history(np.full((2, DAY), 7.0)), None).tolist() == [Gate.NO_MODEL] * 2


def test_every_reason_has_a_sentence() -> None:
    assert all(one.sentence for one in Gate)
    assert len({one.sentence for one in Gate}) == len(Gate)
