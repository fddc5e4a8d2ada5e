"""Rankings on graphs made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.detect.root_cause import CallGraph, Causes, Excess, rank_causes, reachable


def graph(nodes: int, *edges: tuple[int, int]) -> CallGraph:
    return CallGraph(nodes, np.array([a for a, _ in edges], int), np.array([b for _, b in edges], int))


CHAIN = graph(3, (0, 1), (1, 2))


def shares(causes: Causes) -> dict[int, float]:
    return dict(zip(causes.order.tolist(), causes.share.tolist(), strict=True))


def test_the_victim_is_not_blamed_for_waiting() -> None:
    causes = rank_causes(CHAIN, Excess(np.array([10.0, 9.5, 9.0])), 0)
    assert causes.order[0] == 2
    assert shares(causes) == pytest.approx({2: 0.9, 1: 0.05, 0: 0.05})


def test_only_what_the_symptom_calls_can_be_to_blame() -> None:
    other = graph(4, (0, 1), (3, 1))
    causes = rank_causes(other, Excess(np.array([5.0, 4.0, 100.0, 100.0])), 0)
    assert set(causes.order.tolist()) == {0, 1}


def test_without_a_graph_everything_can() -> None:
    causes = rank_causes(graph(3), Excess(np.array([1.0, 0.0, 7.0])), 0)
    assert causes.order[0] == 2
    assert len(causes.order) == 3


def test_a_caller_whose_own_work_grew_is_blamed() -> None:
    assert rank_causes(CHAIN, Excess(np.array([10.0, 1.0, 0.5])), 0).order[0] == 0


def test_a_share_never_exceeds_what_the_symptom_shows() -> None:
    causes = rank_causes(CHAIN, Excess(np.array([10.0, 3.0, 2.0])), 0)
    assert shares(causes)[2] == pytest.approx(0.2)


def test_a_slow_way_is_found_from_its_edges() -> None:
    star = graph(4, (0, 1), (0, 2), (1, 3), (2, 3))
    node, edge = np.array([8.0, 4.0, 4.0, 0.0]), np.array([4.0, 4.0, 4.0, 4.0])
    causes = rank_causes(star, Excess(node, edge), 0)
    assert causes.order[0] == 3
    assert shares(causes)[3] == pytest.approx(0.5)


def test_an_edge_that_was_not_measured_costs_what_its_callee_says() -> None:
    node = np.array([10.0, 9.5, 9.0])
    unknown = rank_causes(CHAIN, Excess(node, np.array([np.nan, np.nan])), 0)
    assert shares(unknown) == pytest.approx(shares(rank_causes(CHAIN, Excess(node), 0)))


def test_rarity_breaks_ties_and_no_more() -> None:
    two = graph(3, (0, 1), (0, 2))
    even = Excess(np.array([2.0, 1.0, 1.0]), rarity=np.array([0.0, 2.0, 9.0]))
    uneven = Excess(np.array([2.0, 1.4, 0.6]), rarity=np.array([0.0, 2.0, 900.0]))
    assert rank_causes(two, even, 0).order[0] == 2
    assert rank_causes(two, uneven, 0).order[0] == 1


def test_strain_names_the_node_where_latency_says_nothing() -> None:
    strained = Excess(np.zeros(3), strain=np.array([0.0, 50.0, 1.0]))
    assert rank_causes(CHAIN, strained, 0).order[0] == 1


def test_missing_and_infinite_values_are_no_evidence() -> None:
    bad = np.array([1.0, np.nan, np.inf])
    causes = rank_causes(CHAIN, Excess(bad, None, bad, bad), 0)
    assert np.isfinite(causes.score).all()
    assert shares(causes)[2] == 0


def test_nothing_wrong_gives_no_shares() -> None:
    assert not rank_causes(CHAIN, Excess(np.zeros(3)), 0).share.any()


def test_calls_in_a_circle_end() -> None:
    circle = graph(3, (0, 1), (1, 2), (2, 1), (2, 2))
    assert reachable(circle, 0).all()
    causes = rank_causes(circle, Excess(np.array([5.0, 4.0, 3.0])), 0)
    assert causes.share.sum() <= 1 + 1e-9


@given(st.integers(0, 10_000))
def test_shares_sum_to_at_most_one_and_names_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, e = 8, 14
    caller, callee = rng.integers(0, n, e), rng.integers(0, n, e)
    node, edge = rng.normal(1, 2, n), rng.normal(1, 2, e)
    causes = rank_causes(CallGraph(n, caller, callee), Excess(node, edge), 0)
    assert causes.share.sum() <= 1 + 1e-9
    assert (causes.share >= 0).all()
    name = rng.permutation(n)
    renamed = np.empty(n)
    renamed[name] = node
    again = rank_causes(CallGraph(n, name[caller], name[callee]), Excess(renamed, edge), int(name[0]))
    mapped = {int(name[i]): share for i, share in shares(causes).items()}
    assert mapped == pytest.approx(shares(again))


@given(st.floats(1e-6, 1e6))
def test_a_change_of_unit_changes_no_share(scale: float) -> None:
    node = np.array([10.0, 9.5, 9.0])
    assert shares(rank_causes(CHAIN, Excess(node * scale), 0)) == pytest.approx(
        shares(rank_causes(CHAIN, Excess(node), 0))
    )
