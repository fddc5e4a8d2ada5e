"""One short look at the backends: what is beyond doubt is seen in it, and chance is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from governor.decide import backends, cost_matrix, laws
from governor.decide.backends import BackendEvidence, turned
from governor.decide.capacity import CapacityBelief
from governor.domain import MeshFrame
from governor.knobs import BackendWeights, Direction, Knob
from governor.proposals import Proposals
from governor.reasons import Reason
from tests.decide.situations import believed, frame, knobs_set, one, policy_of

POOL = 4
RATE = np.full(POOL, 40.0)
FLIGHT = np.full(POOL, 2.5)


def seen(
    rate: ArrayLike = RATE, flight: ArrayLike = FLIGHT, errors: ArrayLike = 0.0, pool: int = POOL
) -> MeshFrame:
    columns = {"rate": rate, "in_flight": flight, "errors": errors}
    return frame(one(pool=pool), edge={"rate": float(np.sum(rate))}, backend=columns, window_s=1.0)


def first(values: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """`values` with another one for the first backend."""
    return np.concatenate([[value], values[1:]])


def slow(window: MeshFrame) -> list[bool]:
    found: list[bool] = turned(window)[1].slow.tolist()
    return found


def failing(window: MeshFrame) -> list[bool]:
    found: list[bool] = turned(window)[1].failing.tolist()
    return found


def test_one_that_keeps_its_requests_is_slow() -> None:
    assert slow(seen(flight=first(FLIGHT, 25.0))) == [True, False, False, False]


def test_one_that_is_full_and_hardly_answers_is_slow_however_few_its_attempts() -> None:
    """A cap of 11 holds what is in flight down, and what it refuses never becomes an attempt."""
    assert slow(seen(first(RATE, 7.0), first(FLIGHT, 11.0)))[0]
    assert slow(seen(first(RATE, 0.0), first(FLIGHT, 11.0)))[0]


def test_a_few_more_in_flight_than_the_peers_have_is_chance() -> None:
    assert not any(slow(seen(flight=first(FLIGHT, 7.0))))
    few = np.full(POOL, 0.5)
    assert not any(slow(seen(np.full(POOL, 10.0), first(few, 4.0))))


def test_one_less_than_three_times_as_slow_is_left_to_the_cycle() -> None:
    many = np.full(POOL, 100.0)
    assert not any(slow(seen(np.full(POOL, 2000.0), first(many, 280.0))))
    assert slow(seen(np.full(POOL, 2000.0), first(many, 320.0)))[0]


def test_the_whole_pool_in_a_queue_is_nobody_s_fault() -> None:
    assert not any(slow(seen(flight=np.full(POOL, 60.0))))


@pytest.mark.parametrize("rate", [0.0, np.nan])
def test_where_a_proxy_has_begun_to_count_anew_nobody_is_judged(rate: float) -> None:
    window = seen(np.full(2, rate), np.array([25.0, 2.0]), pool=2)
    assert slow(window) == [False, False]


def test_one_whose_attempts_are_not_known_is_not_judged() -> None:
    assert not any(slow(seen(first(RATE, np.nan), first(FLIGHT, 25.0))))


def test_one_that_is_alone_has_nobody_to_be_compared_with() -> None:
    assert slow(seen(np.full(1, 40.0), np.full(1, 60.0), pool=1)) == [False]


def test_one_that_fails_at_once_is_failing_and_one_with_a_few_errors_is_not() -> None:
    assert failing(seen(errors=first(np.zeros(POOL), 20.0))) == [True, False, False, False]
    assert not any(failing(seen(errors=first(np.zeros(POOL), 5.0))))
    assert not any(failing(seen(errors=np.full(POOL, 20.0))))


@pytest.mark.parametrize("level", [0.3, 2.0, 8.0])
def test_hardly_any_of_a_hundred_thousand_looks_at_equal_backends_finds_one(level: float) -> None:
    """What is in flight is a Poisson count at each of two scrapes; so are the attempts."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(25):
        flight = rng.poisson(level, (2, 4000)).mean(axis=0)
        rate = rng.poisson(level / 0.06, 4000).astype(float)
        wide = frame(
            one(pool=4000),
            edge={"rate": rate.sum()},
            backend={"rate": rate, "in_flight": flight, "errors": 0.0},
            window_s=1.0,
        )
        wrong += int(turned(wide)[1].slow.sum())
    assert wrong <= 1


def away(window: MeshFrame, weight: ArrayLike | None = None, belief: CapacityBelief | None = None) -> Proposals:
    index = window.index
    cost = cost_matrix.CostState.empty(len(index.apis), len(index.services))
    believes = laws.Beliefs(index, belief or believed(index), BackendEvidence.none(POOL), cost)
    knobs = knobs_set(index, {} if weight is None else {"weight": weight})
    return laws.away(believes, window, knobs, policy_of(index), 5.0, np.full(POOL, np.nan))


def test_the_law_moves_away_from_it_at_once() -> None:
    (proposal,) = away(seen(first(RATE, 7.0), first(FLIGHT, 11.0)))
    assert isinstance(proposal.proposed, BackendWeights)
    assert [share for _, share in proposal.proposed.shares] == pytest.approx([0.005, *[0.995 / 3] * 3], abs=1e-4)
    assert (proposal.knob, proposal.direction, proposal.reason) == (
        Knob.WEIGHTS,
        Direction.SHIFT,
        Reason.BACKEND_SLOW,
    )
    assert proposal.urgent
    assert proposal.evidence["attempts"] == pytest.approx(7.0)


def test_it_gives_nothing_back() -> None:
    assert not away(seen(), [0.005, *[0.995 / 3] * 3])


def test_it_moves_nothing_where_the_others_could_not_carry_the_load() -> None:
    full = believed(one(pool=POOL), {"capacity": 150.0})
    assert not away(seen(first(RATE, 7.0), first(FLIGHT, 11.0)), belief=full)


def test_what_is_believed_of_capacity_is_not_needed_to_know_who_is_slow() -> None:
    unknown = CapacityBelief.unknown(len(one(pool=POOL).services))
    assert len(away(seen(first(RATE, 7.0), first(FLIGHT, 11.0)), belief=unknown)) == 1


def test_a_window_in_the_middle_of_which_the_share_was_set_says_nothing() -> None:
    window = replace(seen(errors=first(np.zeros(POOL), 20.0)), at=100.0)
    before, _ = backends.update(BackendEvidence.none(POOL), window, np.full(POOL, 0.25))
    here = np.array([True, False, False, False])
    new = np.array([0.005, *[0.995 / 3] * 3])
    mixed = replace(window, at=101.0, window_s=5.0)
    after, found = backends.update(before.moved(here, 100.5), mixed, new)
    assert after.attempts[0] == 0.0
    assert not found.known[0]
    assert after.attempts[1] > before.attempts[1]
    for at in (107.0, -3500.0):  # the clock may be set back
        clean = replace(window, at=at, window_s=5.0)
        assert backends.update(after, clean, new)[1].failing[0]
