"""Several views as one p-value: by hand, and valid however they depend on each other."""

from __future__ import annotations

import numpy as np
import pytest

from governor.detect.opinion import combined


def test_one_view_is_itself_and_families_of_one_are_bonferroni() -> None:
    p = np.array([[0.01, 0.5], [0.2, 0.9]])
    assert combined(p, ((0,),)).tolist() == pytest.approx([0.01, 0.5])
    assert combined(p, ((0,), (1,))).tolist() == pytest.approx([0.02, 1.0])


def test_a_family_counts_by_its_geometric_mean() -> None:
    p = np.array([[0.5], [1e-4], [1e-6], [1e-8]])
    assert combined(p, ((0,), (1, 2, 3)))[0] == pytest.approx(2 * np.e * 1e-6)


def test_a_lone_member_of_a_family_says_little_and_a_lone_family_all_it_has_to_say() -> None:
    p = np.array([[1e-6], [1.0], [1.0], [1.0]])
    assert combined(p[[1, 0, 2, 3]], ((0,), (1, 2, 3)))[0] > 0.05
    assert combined(p, ((0,), (1, 2, 3)))[0] == pytest.approx(2e-6)


@pytest.mark.parametrize("dependence", ["none", "equal", "opposite"])
def test_of_uniform_p_values_no_more_are_small_than_there_should_be(dependence: str) -> None:
    u = np.random.default_rng(1).random((4, 20_000))
    views = {
        "none": u,
        "equal": np.repeat(u[:1], 4, axis=0),
        "opposite": np.stack([u[0], 1 - u[0], u[0], 1 - u[0]]),
    }[dependence]
    p = combined(views, ((0,), (1, 2, 3)))
    for rate in (0.01, 0.05, 0.2):
        assert (p <= rate).mean() <= rate
