"""Parts of a cap that leave room for bursts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.adapters.meshes.bursts import part, whole


def test_one_cluster_has_the_whole() -> None:
    assert part(41, 1.0) == 41
    assert whole(41, 1.0) == 41.0


def test_each_of_several_has_more_than_an_even_part() -> None:
    # n = 100 + 6 * 10; half of it is 50 + 6 * 7.07.
    assert part(160, 2.0) == 92
    assert whole(92, 2.0) == pytest.approx(160, abs=2)


@given(st.integers(1, 2000), st.floats(1.01, 8.0))
def test_parts_lie_between_an_even_part_and_the_whole(cap: int, clusters: float) -> None:
    assert max(1, round(cap / clusters)) <= part(cap, clusters) <= cap
    assert whole(part(cap, clusters), clusters) == pytest.approx(cap, abs=0.5 + 1.5 * clusters, rel=0.02)
