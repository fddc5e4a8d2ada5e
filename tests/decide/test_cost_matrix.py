"""The cost matrix is found from fluctuations, and holds the prior where data are silent."""

from __future__ import annotations

import numpy as np

from governor.decide.cost_matrix import CostState, reachability, solve, update
from governor.domain import MeshIndex, RateSamples

# ingress -> s1 (apis a, b), ingress -> s2 (api c), s1 -> s2
INDEX = MeshIndex(
    services=("ingress", "s1", "s2"),
    edges=("ingress>s1", "ingress>s2", "s1>s2"),
    edge_caller=np.array([0, 0, 1], np.int32),
    edge_callee=np.array([1, 2, 2], np.int32),
    apis=("a", "b", "c"),
    api_edge=np.array([0, 0, 1], np.int32),
)
TRUTH = np.array([[0, 0, 0], [1, 1, 0], [0, 1, 1]])


def samples(count: int, seed: int, noise: float = 0.0) -> RateSamples:
    rng = np.random.default_rng(seed)
    x = rng.poisson(75, (count, 3)).astype(np.float64)
    a = x @ TRUTH.T * (1 + noise * rng.standard_normal((count, 3)))
    return RateSamples(x.astype(np.float32), a.astype(np.float32))


def test_paths_follow_the_call_graph() -> None:
    np.testing.assert_array_equal(reachability(INDEX), np.array([[0, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=bool))


def test_a_minute_of_steady_traffic_tells_the_apis_apart() -> None:
    for seed in range(5):
        state = update(CostState.empty(3, 3), samples(40, seed))
        np.testing.assert_allclose(solve(state, INDEX), TRUTH, atol=0.12)


def test_noise_does_not_make_costs_negative() -> None:
    state = update(CostState.empty(3, 3), samples(40, 7, noise=0.05))
    cost = solve(state, INDEX)
    assert (cost >= 0).all()
    np.testing.assert_allclose(cost @ np.full(3, 75.0), TRUTH @ np.full(3, 75.0), rtol=0.05)


def test_without_samples_the_prior_is_one_where_there_is_a_path() -> None:
    cost = solve(CostState.empty(3, 3), INDEX)
    np.testing.assert_array_equal(cost, reachability(INDEX).astype(float))


def test_collinear_rates_stay_at_an_even_split_that_explains_the_mean() -> None:
    x = np.full((30, 3), 75.0, np.float32)
    a = x @ TRUTH.T.astype(np.float32)
    cost = solve(update(CostState.empty(3, 3), RateSamples(x, a)), INDEX)
    np.testing.assert_allclose(cost[2, :2], 0.5, atol=0.05)


def test_an_api_costs_one_where_it_enters_whatever_the_noise() -> None:
    cost = solve(update(CostState.empty(3, 3), samples(20, 11, noise=0.3)), INDEX)
    np.testing.assert_array_equal(cost[1], [1.0, 1.0, 0.0])
    assert cost[2, 2] == 1.0


def test_rows_with_missing_values_are_skipped() -> None:
    good = samples(10, 3)
    holes = good.api_admitted.copy()
    holes[4, 1] = np.nan
    kept = RateSamples(np.delete(good.api_admitted, 4, axis=0), np.delete(good.service_arrivals, 4, axis=0))
    one = update(CostState.empty(3, 3), RateSamples(holes, good.service_arrivals))
    two = update(CostState.empty(3, 3), kept)
    np.testing.assert_allclose(one.gram, two.gram)
