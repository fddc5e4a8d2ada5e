"""What the allocation promises, for any mesh that hypothesis can think of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog

from governor.decide.allocation import allocate


@st.composite
def meshes(draw: st.DrawFn) -> dict[str, Any]:
    services, apis = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    amount = st.floats(0.125, 100, width=32)
    cost = draw(
        hnp.arrays(np.float64, (services, apis), elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0, 3.25]))
    )
    return {
        "demand": draw(hnp.arrays(np.float64, apis, elements=amount)),
        "cost": cost,
        "budget": draw(hnp.arrays(np.float64, services, elements=amount)),
        "tier": draw(hnp.arrays(np.int32, apis, elements=st.integers(0, 2))),
        "share": draw(hnp.arrays(np.float64, apis, elements=st.sampled_from([0.5, 1.0, 1.0, 2.0]))),
    }


@given(meshes())
def test_never_over_budget_nor_over_demand(mesh: dict[str, Any]) -> None:
    got = allocate(**mesh).admitted
    assert (got >= 0).all()
    assert (got <= mesh["demand"] * (1 + 1e-9)).all()
    assert (mesh["cost"] @ got <= mesh["budget"] * (1 + 1e-9) + 1e-9).all()


@given(meshes())
def test_no_api_gains_without_hurting_one_that_is_no_better_off(mesh: dict[str, Any]) -> None:
    result = allocate(**mesh)
    got, cost, tier = result.admitted, mesh["cost"], mesh["tier"]
    level = got / mesh["share"]
    for j in range(len(got)):
        if got[j] >= mesh["demand"][j] * (1 - 1e-9):
            continue
        s = int(result.bottleneck[j])
        assert s >= 0
        assert cost[s, j] > 0
        assert cost[s] @ got >= mesh["budget"][s] * (1 - 1e-6) - 1e-9
        users = (cost[s] > 0) & (got > 1e-9) & (tier == tier[j])
        assert level[j] >= level[users].max(initial=0.0) * (1 - 1e-6) - 1e-9


@given(meshes(), st.floats(1.5, 10))
def test_more_demand_below_never_hurts_a_higher_tier(mesh: dict[str, Any], factor: float) -> None:
    before = allocate(**mesh).admitted
    grown = mesh["demand"] * np.where(mesh["tier"] == mesh["tier"].max(), factor, 1.0)
    after = allocate(**(mesh | {"demand": grown})).admitted
    above = mesh["tier"] < mesh["tier"].max()
    np.testing.assert_allclose(after[above], before[above], rtol=1e-9, atol=1e-9)


@given(meshes(), st.randoms(use_true_random=False))
def test_order_and_units_do_not_matter(mesh: dict[str, Any], random: Any) -> None:
    got = allocate(**mesh).admitted
    apis = random.sample(range(len(got)), len(got))
    rows = random.sample(range(len(mesh["budget"])), len(mesh["budget"]))
    units = np.array([random.choice([0.001, 1.0, 60.0]) for _ in rows])
    moved = allocate(
        mesh["demand"][apis],
        mesh["cost"][rows][:, apis] * units[:, None],
        mesh["budget"][rows] * units,
        mesh["tier"][apis],
        mesh["share"][apis],
    ).admitted
    np.testing.assert_allclose(moved, got[apis], rtol=1e-6, atol=1e-6)


@given(meshes())
def test_the_smallest_share_is_the_linear_programs(mesh: dict[str, Any]) -> None:
    """Of one tier alone, max-min first maximises the least level: one linear program says how high that is."""
    mesh = mesh | {"tier": np.zeros_like(mesh["tier"])}
    got = allocate(**mesh).admitted
    apis = len(got)
    want, share = mesh["demand"], mesh["share"]
    # Variables x_1..x_A, t; maximise t with x_j >= min(share_j t, demand_j), linear for t up to the least ratio.
    top = float((want / share).min())
    rows = np.hstack([mesh["cost"], np.zeros((len(mesh["budget"]), 1))])
    least = np.hstack([-np.eye(apis), share[:, None]])
    solved = linprog(
        np.r_[np.zeros(apis), -1.0],
        A_ub=np.vstack([rows, least]),
        b_ub=np.r_[mesh["budget"], np.zeros(apis)],
        bounds=[*[(0, d) for d in want], (0, top)],
    )
    assert (got / share).min() == pytest.approx(min(-solved.fun, top), rel=1e-6, abs=1e-6)


def test_two_bottlenecks_shared_by_three_apis() -> None:
    result = allocate([200, 200, 200], [[1, 1, 0], [0, 1, 1]], [250, 250], [1, 1, 1], [1, 1, 1])
    np.testing.assert_allclose(result.admitted, [125, 125, 125])


def test_the_high_tier_is_served_first() -> None:
    result = allocate([180, 420], [[1, 1]], [300], [0, 1], [1, 1])
    np.testing.assert_allclose(result.admitted, [180, 120])
    assert result.bottleneck.tolist() == [-1, 0]


def test_a_demand_that_is_no_number_is_refused_by_position() -> None:
    with pytest.raises(ValueError, match=r"demand at \(1,\) is nan"):
        allocate([1.0, np.nan], [[1, 1]], [1], [0, 0], [1, 1])
