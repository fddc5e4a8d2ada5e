from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from governor.errors import LabError
from governor.lab.results import LoadResult, Outcome
from governor.lab.summary import summary_table


@pytest.fixture
def result() -> LoadResult:
    outcomes = [
        Outcome.OK,
        Outcome.OK,
        Outcome.REJECTED_429,
        Outcome.REJECTED_503,
        Outcome.TIMEOUT,
        Outcome.ERROR,
        Outcome.OK,
    ]
    return LoadResult(
        class_names=("a.high", "b.low"),
        duration_s=3.0,
        slo_s=0.2,
        timeout_s=2.0,
        intended=np.array([0.1, 0.2, 0.9, 1.0, 1.5, 2.2, 2.9]),
        klass=np.array([0, 1, 0, 1, 0, 1, 0], dtype=np.int8),
        outcome=np.array(outcomes, dtype=np.int8),
        latency=np.array([0.1, 0.3, 0.01, 0.01, 1.0, 0.02, 0.15], dtype=np.float32),
        attempts=np.array([1, 1, 1, 3, 1, 1, 1], dtype=np.int16),
    )


def test_bins_are_seconds_of_the_intended_time_and_add_up(result: LoadResult) -> None:
    assert result.offered["a.high"].tolist() == [2, 1, 1]
    assert result.offered["b.low"].tolist() == [1, 1, 1]
    assert result.ok["b.low"].tolist() == [1, 0, 0]
    assert result.ok_within_slo["b.low"].tolist() == [0, 0, 0]
    assert result.rejected_429["a.high"].tolist() == [1, 0, 0]
    assert result.rejected_503["b.low"].tolist() == [0, 1, 0]
    assert result.timeouts["a.high"].tolist() == [0, 1, 0]
    assert result.errors["b.low"].tolist() == [0, 0, 1]
    assert result.sent["b.low"].tolist() == [1, 3, 1]
    for name in result.class_names:
        parts = (
            result.ok[name]
            + result.rejected_429[name]
            + result.rejected_503[name]
            + result.timeouts[name]
            + result.errors[name]
        )
        assert (parts == result.offered[name]).all()


def test_goodput_success_and_quantiles(result: LoadResult) -> None:
    assert result.goodput(0, 3) == pytest.approx(2 / 3)
    assert result.goodput(0, 1, "b.low") == 0
    assert result.success(0, 3) == pytest.approx(3 / 7)
    assert result.success(0, 3, in_slo=True) == pytest.approx(2 / 7)
    assert result.latency_quantile(1.0, 0, 3) == pytest.approx(2.0)
    assert result.latency_quantile(1.0, 0, 3, failures_as=9.0) == pytest.approx(9.0)
    assert result.latency_quantile(1.0, 0, 3, survivors_only=True) == pytest.approx(0.3)
    assert result.latency_quantile(0.5, 0, 3, api="b.low") == pytest.approx(2.0)
    assert math.isnan(result.latency_quantile(0.5, 5, 6))
    assert math.isnan(result.success(5, 6))


def test_save_and_load(result: LoadResult, tmp_path: Path) -> None:
    result.save(tmp_path / "r.npz")
    again = LoadResult.load(tmp_path / "r.npz")
    assert again.class_names == result.class_names
    assert (again.latency == result.latency).all()
    assert again.goodput(0, 3) == result.goodput(0, 3)
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(LabError, match=r"bad\.npz"):
        LoadResult.load(tmp_path / "bad.npz")


def test_unknown_class_is_an_error(result: LoadResult) -> None:
    with pytest.raises(LabError, match=r"no API class 'c.low'.*a.high, b.low"):
        result.goodput(0, 1, "c.low")


def test_table_has_a_line_per_class_and_one_for_all(result: LoadResult) -> None:
    lines = summary_table(result).splitlines()
    assert [line.split()[0] for line in lines] == ["API", "a.high", "b.low", "all"]
    assert summary_table(result, 10.0) == "no requests were sent"
