"""Outlier detection: the rest must be able to stand for those ejected, and somebody must be ejectable at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.decide.outlier_detection import consecutive_failures, largest_ejection, propose
from governor.decide.situation import Situation
from governor.knobs import Direction, OutlierDetection
from governor.reasons import Reason
from tests.decide.situations import one, only, situation


def pool(hosts: int, load: float = 0.5, **given: Any) -> Situation:
    """200 requests/s, which are `load` of the capacity."""
    return situation(one(pool=hosts), belief={"capacity": 200 / load}, **given)


def at(share: float, hosts: int = 4, load: float = 0.425, **given: Any) -> Any:
    return propose(pool(hosts, load, knobs={"max_ejection": share}, **given))


@pytest.mark.parametrize(
    ("hosts", "load", "share"),
    [
        (4, 0.42, 0.5),
        (4, 0.1, 0.5),  # never so many that panic routing begins
        (4, 0.6, 0.25),  # 1 - 0.6 / 0.85 = 29 %: one host of four
        (4, 0.7, 0.0),
        (20, 0.6, 0.25),
        (20, 0.85, 0.0),
        (20, 2.0, 0.0),
    ],
)
def test_no_more_is_ejected_than_the_rest_can_stand_for(hosts: int, load: float, share: float) -> None:
    assert largest_ejection(pool(hosts, load))[0] == pytest.approx(share)


@given(st.integers(2, 30), st.floats(0.01, 2.0))
def test_with_the_largest_share_ejected_the_rest_is_not_overloaded(hosts: int, load: float) -> None:
    share = largest_ejection(pool(hosts, load))[0]
    assert 0.0 <= share <= 0.5
    assert share == 0.0 or load / (1 - share) <= 0.85 * (1 + 1e-6)


def test_nothing_is_said_of_a_single_host_or_an_unknown_capacity() -> None:
    assert np.isnan(largest_ejection(pool(1))).all()
    assert np.isnan(largest_ejection(situation(one(pool=4), belief={"capacity": math.nan}))).all()
    assert not len(propose(situation(one(pool=4), belief={"capacity": math.nan}, knobs={"max_ejection": 0.9})))
    assert not len(at(0.9, hosts=1))


def test_a_share_that_would_overload_the_rest_is_narrowed() -> None:
    found = only(at(0.9, load=0.6))
    assert found.current == OutlierDetection(pytest.approx(0.9), None)
    assert found.proposed == found.uncapped == OutlierDetection(0.25, 3)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.EJECTION_TOO_WIDE
    assert not found.urgent


def test_a_share_a_little_too_wide_is_narrowed_as_well() -> None:
    assert only(at(0.4, load=0.6)).proposed == OutlierDetection(0.25, 3)


def test_a_share_that_ejects_nobody_is_widened() -> None:
    found = only(at(0.1, load=0.6))
    assert found.proposed == OutlierDetection(0.25, 3)
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.EJECTION_INEFFECTIVE


@pytest.mark.parametrize(("share", "hosts"), [(0.25, 4), (0.1, 10), (0.3, 4), (math.nan, 4)])
def test_a_share_that_ejects_somebody_and_not_too_many_is_left_alone(share: float, hosts: int) -> None:
    assert not len(at(share, hosts=hosts, load=0.42))


@pytest.mark.parametrize(("share", "hosts"), [(0.0, 4), (0.1, 4), (0.1, 9), (0.24, 4)])
def test_a_share_that_ejects_nobody_is_not_too_wide_whatever_the_load(share: float, hosts: int) -> None:
    assert not len(at(share, hosts=hosts, load=2.0))


def test_a_pool_without_room_is_not_made_to_eject_somebody() -> None:
    assert not len(at(0.0, load=0.84))


@pytest.mark.parametrize(
    ("rate", "errors", "row"),
    [
        (100.0, 0.001, 3),  # ln(6.05e7) / ln(1000) = 2.6
        (100.0, 0.0, 3),  # taken as one in a thousand
        (100.0, 0.1, 8),  # 7.8
        (1000.0, 0.1, 9),  # 8.8
        (100.0, 0.9, 26),  # taken as one in two
        (0.0, 0.5, 3),
    ],
)
def test_healthy_hosts_are_ejected_once_a_week_at_most(rate: float, errors: float, row: int) -> None:
    assert consecutive_failures(rate, errors) == row


def test_the_failures_in_a_row_follow_the_edges_own_errors() -> None:
    found = only(at(0.9, load=0.6, edge={"errors": 20.0}))
    assert found.proposed == OutlierDetection(0.25, math.ceil(math.log(200 * 604800) / math.log(10)))
