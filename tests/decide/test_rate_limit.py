"""Rate limits: only for what a cap cannot do, cut at once, and let go of by steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from governor.decide.rate_limit import backlog, budget, guarded_services, propose, solve
from governor.decide.situation import Situation
from governor.knobs import Direction, Proposal, RateLimit
from governor.reasons import Reason
from tests.decide.situations import APIS, chain, column, mesh, one, only, situation

CAPPED = {"cap_default": 50.0, "cap_high": 50.0}
BUSY = {"offered": [180.0, 420.0]}
SMALL_BACK = {"capacity": [1800.0, 1800.0, 300.0]}
ROOM = 1.04 * 300
TWINS = ("look.low", "list.low")


def room(s: Situation) -> NDArray[np.float64]:
    return budget(s, guarded_services(s), backlog(s))


def limits(s: Situation) -> dict[str, float | None]:
    return {p.target.name: value_of(p) for p in map(propose(s).build, range(len(propose(s))))}


def value_of(proposal: Proposal) -> float | None:
    assert isinstance(proposal.proposed, RateLimit)
    return proposal.proposed.requests_per_second


def test_no_limit_where_the_cap_at_the_entry_does_the_job() -> None:
    s = situation(one(), knobs=CAPPED, belief={"capacity": 300.0}, api=BUSY)
    assert solve(s).allocation.admitted.tolist() == pytest.approx([180, ROOM - 180])
    assert not len(propose(s))


def test_a_bottleneck_behind_the_entry_is_kept_from_work_that_it_would_refuse() -> None:
    found = only(propose(situation(chain(), knobs=CAPPED, belief=SMALL_BACK, api=BUSY)))
    assert found.target.name == "look.low"
    assert found.current == RateLimit(None)
    assert found.proposed == found.uncapped == RateLimit(ROOM - 180)
    assert found.direction is Direction.TIGHTEN
    assert found.reason is Reason.OVERLOAD
    assert found.urgent
    assert found.evidence["bottleneck_capacity_rps"] == 300


def test_a_bottleneck_is_shared_out_among_the_apis_of_a_tier() -> None:
    s = situation(one(TWINS), knobs=CAPPED, belief={"capacity": 300.0}, api={"offered": [100.0, 420.0]})
    assert limits(s) == pytest.approx({"list.low": ROOM - 100})
    unequal = situation(
        one(TWINS),
        knobs=CAPPED,
        belief={"capacity": 300.0},
        api={"offered": [400.0, 420.0]},
        policy={"api_share": [3.0, 1.0]},
    )
    assert limits(unequal) == pytest.approx({"look.low": 0.75 * ROOM, "list.low": 0.25 * ROOM})


def test_an_api_that_nobody_calls_shares_nothing() -> None:
    s = situation(one(TWINS), knobs=CAPPED, belief={"capacity": 300.0}, api={"offered": [0.0, 420.0]})
    assert not len(propose(s))


def test_without_a_cap_a_limit_comes_only_above_nine_tenths_of_the_estimate() -> None:
    low = 500 * (1 - 0.164)
    assert not len(propose(situation(one(), belief={"capacity": 500.0}, api={"offered": [180.0, 260.0]})))
    s = situation(one(), belief={"capacity": 500.0}, api={"offered": [180.0, 280.0]})
    high = 180 + 2 * math.sqrt(180 / 15)
    assert limits(s) == pytest.approx({"look.low": 0.9 * low - high}, abs=0.01)


def test_without_a_cap_a_saturated_service_is_limited_below_that_as_well() -> None:
    full = {"capacity": 500.0, "saturated": True}
    assert set(limits(situation(one(), belief=full, api={"offered": [180.0, 260.0]}))) == {"look.low"}


def test_one_edge_without_a_cap_leaves_the_path_unguarded() -> None:
    s = situation(chain(), knobs={"cap_default": [50.0, math.nan]}, api=BUSY)
    assert not solve(s).guarded.any()
    assert solve(situation(chain(), knobs=CAPPED, api=BUSY)).guarded.all()


def test_an_unknown_capacity_limits_nothing() -> None:
    unknown = {"capacity": math.nan}
    assert np.isinf(room(situation(chain(), knobs=CAPPED, belief=unknown))).all()
    assert not len(propose(situation(chain(), belief=unknown, api={"offered": [1e4, 1e5]})))


def dead(queued: float, **given: Any) -> Situation:
    """500 requests/s of capacity, 612 asked for, and `queued` that nobody waits for."""
    full = {"capacity": 500.0, "queued": queued, "saturated": queued > 0}
    api = {"offered": [200.0, 412.0]}
    return situation(one(), **({"knobs": CAPPED, "belief": full, "api": api} | given))


def test_requests_that_nobody_waits_for_are_emptied_out_and_the_high_class_is_served_first() -> None:
    assert not len(propose(dead(0.0)))
    assert not len(propose(dead(499.0)))
    helped = 3500 - 500  # the service works off a second's worth by itself
    assert limits(dead(3500.0)) == pytest.approx({"look.low": 520 - helped / 15 - 200}, abs=0.01)


def test_a_huge_backlog_leaves_a_twentieth_and_that_to_the_high_class() -> None:
    assert limits(dead(1e6)) == pytest.approx({"buy.high": 0.05 * 500, "look.low": 0.0}, abs=1e-6)


def test_what_callers_still_wait_for_is_no_backlog() -> None:
    assert not len(propose(dead(3500.0, edge={"in_flight": 3500.0})))


def after_the_backlog(limit: float) -> Proposal:
    return only(propose(dead(0.0, knobs=CAPPED | {"limit": [math.nan, limit]})))


def test_a_limit_that_is_no_longer_needed_goes_in_two_steps() -> None:
    first = after_the_backlog(120.0)
    assert value_of(first) == pytest.approx(1.5 * 412)
    assert first.direction is Direction.LOOSEN
    last = after_the_backlog(1.5 * 412)
    assert last.proposed == RateLimit(None)
    assert last.direction is Direction.LOOSEN


@given(st.floats(1.0, 1e4), st.booleans())
@settings(max_examples=60)
def test_no_limit_below_demand_goes_straight_to_none(limit: float, guarded: bool) -> None:
    knobs = (CAPPED if guarded else {}) | {"limit": limit}
    for name, value in limits(situation(one(), knobs=knobs, api=BUSY)).items():
        assert value is not None or limit > 1.3 * BUSY["offered"][APIS.index(name)]


def behind(limit: float, limited: float = 0.0, capacity: float = 300.0, **knobs: float) -> list[Proposal]:
    s = situation(
        chain(),
        knobs=knobs | {"limit": [math.nan, limit]},
        belief={"capacity": [1800.0, 1800.0, capacity]},
        api=BUSY | {"limited": [0.0, limited]},
    )
    batch = propose(s)
    return [batch.build(i) for i in range(len(batch)) if batch.line(i).row == 1]


def test_a_limit_is_cut_to_the_solution_at_once() -> None:
    (found,) = behind(400.0, **CAPPED)
    assert found.proposed == RateLimit(ROOM - 180)
    assert found.direction is Direction.TIGHTEN
    assert found.urgent


def test_a_limit_near_the_solution_is_left_alone() -> None:
    assert behind(0.96 * (ROOM - 180), **CAPPED) == []
    assert behind(1.04 * (ROOM - 180), **CAPPED) == []


@pytest.mark.parametrize(("limited", "urgent"), [(20.0, False), (22.0, True)])
def test_where_caps_guard_a_limit_is_raised_to_the_solution_and_at_once_if_it_refuses(
    limited: float, urgent: bool
) -> None:
    (found,) = behind(60.0, limited=limited, **CAPPED)
    assert found.proposed == RateLimit(ROOM - 180)
    assert found.direction is Direction.LOOSEN
    assert found.reason is Reason.OVERLOAD
    assert found.urgent is urgent


@pytest.mark.parametrize("capacity", [500.0, 1800.0], ids=["needed", "not needed"])
def test_without_caps_a_limit_is_raised_by_a_quarter_without_haste(capacity: float) -> None:
    (found,) = behind(100.0, limited=200.0, capacity=capacity)
    assert found.proposed == RateLimit(125.0)
    assert found.direction is Direction.LOOSEN
    assert not found.urgent


def test_the_reason_of_a_release_is_that_demand_fits() -> None:
    (found,) = behind(100.0, capacity=1800.0, **CAPPED)
    assert found.reason is Reason.DEMAND_FITS
    assert value_of(found) == pytest.approx(1.5 * 420)


AMOUNT = st.floats(0.125, 1000.0, width=32)


@st.composite
def meshes(draw: st.DrawFn) -> dict[str, Any]:
    """Services with capacities, and APIs that ask for more or less of each."""
    services, apis = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    cost = draw(hnp.arrays(np.float64, (services, apis), elements=st.sampled_from([0.0, 0.5, 1.0, 2.0])))
    return {
        "cost": np.vstack([np.zeros((1, apis)), cost]),
        "offered": draw(hnp.arrays(np.float64, apis, elements=AMOUNT)),
        "capacity": draw(hnp.arrays(np.float64, services + 1, elements=AMOUNT)),
        "queued": draw(hnp.arrays(np.float64, services + 1, elements=st.sampled_from([0.0, 50.0, 5000.0]))),
        "tier": draw(hnp.arrays(np.int32, apis, elements=st.integers(0, 2))),
        "share": draw(hnp.arrays(np.float64, apis, elements=st.sampled_from([0.5, 1.0, 2.0]))),
        "guarded": draw(st.booleans()),
    }


def asked(drawn: dict[str, Any], scale: float = 1.0) -> Situation:
    """The situation of a drawn mesh, with all rates (and so all numbers of requests) times `scale`."""
    services, apis = drawn["cost"].shape
    index = mesh(tuple(f"client s{k}" for k in range(1, services)), tuple(f"api{j}" for j in range(apis)))
    s = situation(
        index,
        cost=drawn["cost"],
        edge={"rate": 10.0 * scale},
        knobs=CAPPED if drawn["guarded"] else {},
        belief={name: drawn[name] * scale for name in ("capacity", "queued")} | {"seen": 0.0},
        policy={"api_tier": drawn["tier"], "api_share": drawn["share"]},
    )
    return replace(
        s, frame=replace(s.frame, api=replace(s.frame.api, offered=column(drawn["offered"] * scale, apis)))
    )


PROPERTY = settings(max_examples=60)


@given(meshes())
@PROPERTY
def test_no_service_is_given_more_than_its_budget_and_no_api_more_than_it_asks(drawn: dict[str, Any]) -> None:
    s = asked(drawn)
    found = solve(s)
    got = found.allocation.admitted
    assert (drawn["cost"] @ got <= room(s) * (1 + 1e-9)).all()
    assert ((got >= 0) & (got <= found.demand)).all()
    assert (room(s) <= 1.04 * drawn["capacity"] * (1 + 1e-9)).all()


@given(meshes(), st.integers(0, 4))
@PROPERTY
def test_an_api_gets_no_less_for_a_higher_priority(drawn: dict[str, Any], which: int) -> None:
    j = which % len(drawn["offered"])
    tier = drawn["tier"].copy()
    tier[j] -= 1
    before, after = (solve(asked(d)).allocation.admitted[j] for d in (drawn, drawn | {"tier": tier}))
    assert after >= before * (1 - 1e-6) - 1e-9


@given(meshes())
@PROPERTY
def test_no_api_gains_without_hurting_one_that_is_no_better_off(drawn: dict[str, Any]) -> None:
    s = asked(drawn)
    found = solve(s)
    got, level = found.allocation.admitted, found.allocation.admitted / drawn["share"]
    left = room(s) - drawn["cost"] @ got
    for j in np.flatnonzero(got < found.demand * (1 - 1e-9)):
        full = np.flatnonzero((drawn["cost"][:, j] > 0) & (left <= 1e-6 * room(s)))
        poorer_or_above = [
            all(
                drawn["tier"][k] < drawn["tier"][j] or level[k] <= level[j] * (1 + 1e-6) + 1e-9
                for k in np.flatnonzero((drawn["cost"][service] > 0) & (got > 1e-9))
            )
            for service in full
        ]
        assert any(poorer_or_above)


@given(meshes(), st.randoms(use_true_random=False))
@PROPERTY
def test_the_order_of_apis_and_services_does_not_matter(drawn: dict[str, Any], random: Any) -> None:
    services, apis = drawn["cost"].shape
    rows = [0, *random.sample(range(1, services), services - 1)]
    order = random.sample(range(apis), apis)
    turned = {
        "cost": drawn["cost"][rows][:, order],
        "capacity": drawn["capacity"][rows],
        "queued": drawn["queued"][rows],
        "guarded": drawn["guarded"],
    } | {name: drawn[name][order] for name in ("offered", "tier", "share")}
    straight, moved = solve(asked(drawn)), solve(asked(turned))
    np.testing.assert_allclose(
        moved.allocation.admitted, straight.allocation.admitted[order], rtol=1e-6, atol=1e-9
    )


@given(meshes(), st.sampled_from([0.25, 4.0, 64.0]))
@PROPERTY
def test_the_unit_of_rates_does_not_matter_where_caps_guard(drawn: dict[str, Any], scale: float) -> None:
    drawn = drawn | {"guarded": True}
    small, large = solve(asked(drawn)), solve(asked(drawn, scale))
    np.testing.assert_allclose(large.allocation.admitted, scale * small.allocation.admitted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(large.needed, small.needed)
