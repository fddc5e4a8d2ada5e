"""Every law's columns line up with the proposals that are built from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import nnls

from governor.adapters.memory import MemoryControlPlane
from governor.decide.backends import _median_by
from governor.decide.cost_matrix import CostState, paths, solve, update
from governor.decide.laws import decide
from governor.domain import RateSamples
from governor.knobs import VALUE_TYPES, Direction, Knob, KnobState, Proposal, RateLimit, Target, Timeout
from governor.policy import load_policies, resolve
from governor.proposals import Batch, Proposals
from tests.benchmarks.cycle import make_frame, make_index


@pytest.fixture(scope="module")
def found() -> Proposals:
    """What all laws say of a mesh with overloads, slow backends, and settings that do not fit."""
    rng = np.random.default_rng(3)
    index = make_index(60, rng)
    count = len(index.edges)
    knobs = KnobState.unset(index)
    some = rng.random(count) < 0.5
    knobs.cap_default[some], knobs.cap_high[some] = 50.0, 60.0
    knobs.retry_budget[some] = 0.2
    knobs.timeout[:] = rng.choice([0.05, 1.0, 30.0], count)
    knobs.max_ejection[:] = rng.choice([0.1, 0.9], count)
    knobs.max_connections[:] = rng.choice([1.0, 1e6], count)
    knobs.limit[:] = rng.choice([np.nan, 100.0, 1e6], len(index.apis))
    plane = MemoryControlPlane(index, knobs)
    policy = resolve(load_policies(["balanced"]), index)
    beliefs = None
    for i in range(4):
        frame = make_frame(index, rng, 15.0 * i)
        beliefs, proposals = decide(beliefs, frame, plane.read(index), policy, 15.0)
    return proposals


def each(found: Proposals) -> Iterator[tuple[Batch, int, Proposal]]:
    for batch in found.batches:
        for i in range(len(batch)):
            yield batch, i, batch.build(i)


def test_every_law_has_something_to_say(found: Proposals) -> None:
    assert {batch.knob for batch in found.batches} == set(Knob)


def test_each_row_is_named_once(found: Proposals) -> None:
    for batch in found.batches:
        assert len(np.unique(batch.rows)) == len(batch.rows)


def test_a_proposal_says_what_its_line_says(found: Proposals) -> None:
    index = make_index(60, np.random.default_rng(3))
    for batch, i, proposal in each(found):
        line = batch.line(i)
        names = index.apis if batch.knob is Knob.RATE_LIMIT else index.edges
        assert proposal.target == Target(batch.knob.sits_on, names[line.row])
        assert proposal.knob is batch.knob
        assert (proposal.direction, proposal.reason, proposal.urgent) == (
            line.direction,
            line.reason,
            line.urgent,
        )
        assert (proposal.traffic, proposal.confidence) == (line.traffic, line.confidence)
        assert isinstance(proposal.proposed, VALUE_TYPES[batch.knob])
        assert proposal.proposed != proposal.current


def test_the_direction_is_that_of_the_values(found: Proposals) -> None:
    for _, _, proposal in each(found):
        match proposal.current, proposal.proposed:
            case RateLimit(before), RateLimit(after):
                tighter = after is not None and (before is None or after < before)
            case Timeout(before), Timeout(after):
                assert before is not None
                assert after is not None
                tighter = after < before
            case _:
                continue
        assert proposal.direction is (Direction.TIGHTEN if tighter else Direction.LOOSEN)


def test_building_twice_gives_the_same(found: Proposals) -> None:
    for position in range(0, len(found), 50):
        assert repr(found[position]) == repr(found[position])


@given(st.data(), st.integers(1, 30), st.integers(1, 6))
def test_medians_are_the_lower_ones_of_each_group(data: st.DataObject, count: int, size: int) -> None:
    group = data.draw(hnp.arrays(np.int32, count, elements=st.integers(0, size - 1)))
    values = data.draw(hnp.arrays(np.float64, count, elements=st.floats(0, 100) | st.just(np.nan)))
    medians = _median_by(group, values, size)
    for g in range(size):
        known = sorted(v for v in values[group == g] if np.isfinite(v))
        expected = known[(len(known) - 1) // 2] if known else np.nan
        np.testing.assert_equal(medians[g], expected)


@pytest.mark.parametrize("seed", range(3))
def test_costs_are_the_least_squares_of_each_service_by_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = make_index(40, rng)
    services, apis = len(index.services), len(index.apis)
    x = rng.poisson(50, (30, apis)).astype(np.float32)
    samples = RateSamples(x, rng.poisson(200, (30, services)).astype(np.float32))
    state = update(CostState.empty(apis, services), samples)
    cost, prior = solve(state, index), solve(state, index, np.zeros(services, np.bool_))
    ridge = 2.0 * state.rate / state.weight
    (entry, inside), zeros = paths(index), 0
    for s in range(services):
        cols = np.flatnonzero(inside[s])
        if not len(cols) or (entry | inside)[s].sum() < 2:
            continue
        factor = np.linalg.cholesky(state.gram[np.ix_(cols, cols)] + np.diag(ridge[cols]))
        unexplained = state.moment[s, cols] - state.gram[cols][:, entry[s]].sum(axis=1)
        pull = unexplained + ridge[cols] * (prior - entry)[s, cols]
        expected = nnls(factor.T, np.linalg.solve(factor, pull))[0]
        zeros += int((expected == 0).any())
        np.testing.assert_allclose((cost - entry)[s, cols], expected, atol=1e-8)
    assert zeros > 0  # the constraint was put to work
