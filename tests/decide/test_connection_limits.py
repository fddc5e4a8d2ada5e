"""Connection limits: widened where they would bite before the in-flight cap, never narrowed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from governor.decide.connection_limits import propose
from governor.knobs import ConnectionLimits, Direction
from governor.reasons import Reason
from tests.decide.situations import one, only, situation

CONNECTIONS, PENDING = 162, 54
"""1.5 and 0.5 of both caps, 54 each."""


def at(connections: float, pending: float = math.nan, **given: Any) -> Any:
    knobs = {"max_connections": connections, "max_pending": pending}
    return propose(situation(one(), knobs=knobs, api={"offered": [0.0, 200.0]}, **given))


def test_a_pool_smaller_than_the_caps_is_widened() -> None:
    found = only(at(100.0, 10.0))
    assert found.current == ConnectionLimits(100, 10)
    assert found.proposed == found.uncapped == ConnectionLimits(CONNECTIONS, PENDING)
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.POOL_LIMIT
    assert not found.urgent


@pytest.mark.parametrize(("now", "then"), [((100.0, 500.0), (CONNECTIONS, 500)), ((500.0, 10.0), (500, PENDING))])
def test_the_one_that_is_wide_enough_stays(now: tuple[float, float], then: tuple[int, int]) -> None:
    found = only(at(*now))
    assert found.proposed == ConnectionLimits(*then)
    assert found.uncapped == ConnectionLimits(CONNECTIONS, PENDING)


def test_the_one_that_is_not_set_stays_so() -> None:
    assert only(at(100.0)).proposed == ConnectionLimits(CONNECTIONS, None)
    assert only(at(math.nan, 10.0)).proposed == ConnectionLimits(None, PENDING)


@pytest.mark.parametrize("wide", [(163.0, 55.0), (1e6, 1e6), (math.nan, math.nan), (163.0, math.nan)])
def test_limits_wide_enough_or_not_set_are_left_alone(wide: tuple[float, float]) -> None:
    assert not len(at(*wide))


def test_limits_follow_the_capacity() -> None:
    assert len(at(163.0, 55.0, belief={"capacity": 3600.0})) == 1


def test_nothing_is_said_where_the_cap_law_knows_nothing() -> None:
    assert not len(at(1.0, 1.0, edge={"rate": 1.0, "attempts": 1.0}))


@pytest.mark.parametrize(
    ("now", "moves"),
    [
        ((100.0, 10.0), "connections 100 -> 162, pending requests 10 -> 54"),
        ((100.0, 500.0), "connections 100 -> 162"),
        ((500.0, 10.0), "pending requests 10 -> 54"),
        ((math.nan, 10.0), "pending requests 10 -> 54"),
    ],
)
def test_the_words_name_what_is_widened_and_nothing_else(now: tuple[float, float], moves: str) -> None:
    assert only(at(*now)).summary == f"client|web: {moves} for what may be in flight"
