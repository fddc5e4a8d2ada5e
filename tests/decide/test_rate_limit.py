"""Rate limits: only where a cap cannot help, by tier and max-min, and let go of in two steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.decide.rate_limit import BY_ITSELF_S, LOOSE, RHO_BARE, RHO_CAPPED, STEP_UP, backlog, propose, solve
from governor.decide.situation import Situation
from governor.domain import MeshFrame
from governor.knobs import Direction, Proposal, RateLimit
from governor.proposals import Proposals
from governor.reasons import Reason
from tests.decide.situations import belief, frame, knobs, situation

CAPPED = {"cap_default": (40, 40), "cap_high": (40, 40)}
ONE_HOP = [[0, 0], [1, 1], [0, 0]]
BEHIND = [[0, 0], [0.1, 0.1], [1, 1]]
SAME_TIER = {"api_tier": np.array([1, 1], np.int32)}


def asking(high: float, low: float, limited: tuple[float, float] = (0, 0), **edge: Any) -> MeshFrame:
    return frame(api={"offered": (high, low), "limited": limited, "completed": (high, low)}, edge=edge)


def limits(s: Situation) -> dict[str, float | None]:
    found = {}
    for p in Proposals([propose(s)]):
        assert isinstance(p.proposed, RateLimit)
        found[p.target.name] = p.proposed.requests_per_second
    return found


def of(s: Situation) -> list[Proposal]:
    return list(Proposals([propose(s)]))


def test_where_the_entrys_own_cap_does_the_job_there_is_no_limit() -> None:
    assert limits(situation(seen=asking(200, 900), set_to=knobs(**CAPPED), cost=ONE_HOP)) == {}


def test_a_bottleneck_behind_the_entry_gets_one_and_the_high_class_comes_first() -> None:
    s = situation(seen=asking(600, 900), set_to=knobs(**CAPPED), cost=BEHIND)
    found = limits(s)
    assert found == {"shop.low": pytest.approx(RHO_CAPPED * 1000 - 600, rel=1e-3)}


def test_a_bottleneck_that_one_tier_shares_is_divided() -> None:
    s = situation(seen=asking(300, 900), set_to=knobs(**CAPPED), cost=ONE_HOP, **SAME_TIER)
    half = RHO_CAPPED * 400 / 2
    assert limits(s) == {"shop.high": pytest.approx(half, rel=1e-3), "shop.low": pytest.approx(half, rel=1e-3)}


def test_without_caps_a_limit_is_set_only_above_nine_tenths_of_the_estimate() -> None:
    low = belief().low[1]
    assert limits(situation(seen=asking(60, 290), cost=ONE_HOP)) == {}
    over = situation(seen=asking(60, 320), cost=ONE_HOP)
    demand = 60 + 2 * np.sqrt(60 / 5)
    assert limits(over) == {"shop.low": pytest.approx(RHO_BARE * low - demand, rel=1e-2)}


def test_requests_that_nobody_waits_for_are_shed_the_high_class_last() -> None:
    stormy = belief(queued=np.array([0, 2000.0, 0]), saturated=np.array([False, True, False]))
    s = situation(seen=asking(100, 200, in_flight=(60, 2)), set_to=knobs(**CAPPED), cost=ONE_HOP, believed=stormy)
    dead = 2000 + 200 * 0.05 - 60 - BY_ITSELF_S * 400
    assert backlog(s)[1] == pytest.approx(dead)
    found = limits(s)
    assert found["shop.low"] == pytest.approx(RHO_CAPPED * 400 - dead / 5 - 100, rel=1e-2)
    assert "shop.high" not in found


def test_a_queue_that_callers_wait_in_is_not_shed() -> None:
    waiting = belief(queued=np.array([0, 500.0, 0]), saturated=np.array([False, True, False]))
    s = situation(seen=asking(100, 200, in_flight=(510, 2)), set_to=knobs(**CAPPED), believed=waiting)
    assert backlog(s)[1] == 0


def test_a_limit_that_is_no_longer_needed_goes_in_two_steps() -> None:
    tight = situation(seen=asking(60, 140, (0, 90)), set_to=knobs(**CAPPED, limit=(np.nan, 50)), cost=ONE_HOP)
    (first,) = of(tight)
    assert first.proposed == RateLimit(pytest.approx(LOOSE * 140))
    assert first.urgent
    loose = situation(seen=asking(60, 140), set_to=knobs(**CAPPED, limit=(np.nan, LOOSE * 140)), cost=ONE_HOP)
    (last,) = of(loose)
    assert last.proposed == RateLimit(None)
    assert last.reason is Reason.DEMAND_FITS
    assert not last.urgent


def test_without_caps_a_limit_rises_by_a_quarter_at_most_and_is_never_urgent() -> None:
    (found,) = of(situation(seen=asking(60, 140, (0, 90)), set_to=knobs(limit=(np.nan, 50)), cost=ONE_HOP))
    assert found.proposed == RateLimit(pytest.approx(50 * STEP_UP))
    assert found.direction is Direction.LOOSEN
    assert not found.urgent


def test_a_tightening_is_urgent_and_small_moves_are_none() -> None:
    s = situation(seen=asking(600, 900), set_to=knobs(**CAPPED), cost=BEHIND)
    (found,) = of(s)
    assert found.urgent
    assert found.direction is Direction.TIGHTEN
    near = situation(seen=asking(600, 900), set_to=knobs(**CAPPED, limit=(np.nan, 430)), cost=BEHIND)
    assert of(near) == []


rates = st.floats(1, 3000)
costs = st.floats(0, 3)


@given(rates, rates, costs, costs, costs, costs, st.booleans(), st.floats(0.01, 100))
def test_the_allocation_keeps_to_the_budget_whatever_the_unit(
    high: float, low: float, a: float, b: float, c: float, d: float, same: bool, unit: float
) -> None:
    policy = SAME_TIER if same else {}
    cost = np.array([[0, 0], [a, b], [c, d]])

    def found(k: float) -> np.ndarray:
        believed = belief(capacity=k * np.array([np.nan, 400, 1000]))
        s = situation(
            seen=asking(k * high, k * low), set_to=knobs(**CAPPED), cost=cost, believed=believed, **policy
        )
        return solve(s).allocation.admitted

    admitted = found(1.0)
    assert (cost[1:] @ admitted <= RHO_CAPPED * np.array([400, 1000]) * (1 + 1e-6)).all()
    assert (admitted <= np.array([high, low]) * (1 + 1e-6)).all()
    np.testing.assert_allclose(found(unit) / unit, admitted, rtol=1e-3, atol=1e-6)


@given(rates, rates)
def test_more_demand_of_the_low_class_takes_nothing_from_the_high(high: float, low: float) -> None:
    one = solve(situation(seen=asking(high, low), set_to=knobs(**CAPPED), cost=BEHIND)).allocation.admitted
    two = solve(situation(seen=asking(high, 2 * low), set_to=knobs(**CAPPED), cost=BEHIND)).allocation.admitted
    assert two[0] == pytest.approx(one[0])
    assert two[1] >= one[1] - 1e-6
