"""Weights: away from what is slow or failing beyond chance, back to the operator's shares by steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from governor.decide.backends import BackendEvidence, judge, update
from governor.decide.situation import Situation
from governor.decide.weights import CLEAN_WINDOWS, LEAST_SHARE, PATIENCE_S, STEP, propose
from governor.knobs import BackendWeights, Direction, Proposal
from governor.proposals import Proposals
from governor.reasons import Reason
from tests.decide.situations import INDEX, belief, frame, knobs, situation

EVEN = np.full(3, 1 / 3)


def gathered(windows: int = 1, share: Sequence[float] = (1 / 3, 1 / 3, 1 / 3), **backend: Any) -> BackendEvidence:
    """Evidence after some windows of the same signals."""
    evidence = BackendEvidence.none(3)
    for _ in range(windows):
        evidence = update(evidence, frame(backend=backend), share)
    return evidence


def many_looks(evidence: BackendEvidence) -> BackendEvidence:
    """As if in-flight had been sampled often, so that chance plays no part."""
    return replace(evidence, looks=np.full(3, 1e6))


def only(s: Situation) -> list[Proposal]:
    return list(Proposals([propose(s)]))


def shares(proposal: Proposal) -> list[float]:
    assert isinstance(proposal.proposed, BackendWeights)
    return [share for _, share in proposal.proposed.shares]


def test_a_backend_that_turns_slow_is_seen_in_its_first_window() -> None:
    evidence = gathered(10)
    slow = frame(backend={"rate": (67, 67, 15), "in_flight": (4, 4, 9)})
    assert judge(update(evidence, slow, EVEN), INDEX.backend_edge).slow.tolist() == [False, False, True]


def test_a_slow_backend_keeps_what_the_latency_objective_does_not_see() -> None:
    slow = many_looks(gathered(rate=(67, 67, 15), in_flight=(4, 4, 9)))
    (found,) = only(situation(evidence=slow))
    assert found.reason is Reason.BACKEND_SLOW
    assert found.urgent
    assert found.direction is Direction.SHIFT
    assert shares(found)[2] == pytest.approx(0.005, rel=0.01)  # half of 1 - 0.99
    assert sum(shares(found)) == pytest.approx(1, abs=1e-3)


def test_a_failing_backend_keeps_what_the_availability_objective_does_not_see() -> None:
    (found,) = only(situation(evidence=gathered(errors=(0, 0, 20))))
    assert found.reason is Reason.BACKEND_FAILING
    assert shares(found)[2] == pytest.approx(0.0005 / (20 / 66), rel=0.05)
    (total,) = only(situation(evidence=gathered(errors=(0, 0, 66))))
    assert shares(total)[2] == pytest.approx(LEAST_SHARE, rel=0.01)


def test_few_looks_at_few_requests_are_chance() -> None:
    uneven = gathered(rate=(20, 20, 20), in_flight=(0.5, 0.5, 1.9))
    assert not judge(uneven, INDEX.backend_edge).slow.any()
    assert judge(many_looks(uneven), INDEX.backend_edge).slow[2]


def test_where_the_others_fail_nearly_as_much_it_is_the_load() -> None:
    assert only(situation(evidence=gathered(errors=(12, 12, 30)))) == []


def test_two_of_three_are_an_overload_and_one_is_not() -> None:
    assert only(situation(evidence=many_looks(gathered(rate=(67, 15, 15), in_flight=(4, 9, 9))))) == []
    assert only(situation(evidence=gathered(errors=(0, 40, 40)))) == []
    assert len(only(situation(evidence=gathered(errors=(0, 0, 40))))) == 1


def test_nothing_moves_where_the_rest_could_not_carry_the_load() -> None:
    slow = many_looks(gathered(rate=(67, 67, 15), in_flight=(4, 4, 9)))
    small = belief(capacity=np.array([np.nan, 250.0, 1000.0]))
    assert only(situation(evidence=slow, believed=small)) == []


def test_what_was_done_with_another_share_is_forgotten() -> None:
    bad = gathered(5, errors=(0, 0, 40))
    moved = update(bad, frame(backend={"rate": (99, 99, 2), "errors": (0, 0, 0)}), (0.499, 0.499, 0.002))
    assert moved.errors[2] == 0
    assert moved.attempts[2] == pytest.approx(10)
    assert moved.attempts[0] > 300


def test_one_on_few_requests_is_remembered_long_enough_to_be_judged() -> None:
    share = (0.49, 0.49, 0.02)
    evidence = gathered(12, share, rate=(99, 99, 0.5), errors=(0, 0, 0.25))
    assert judge(evidence, INDEX.backend_edge).known[2]
    assert judge(evidence, INDEX.backend_edge).failing[2]


def test_a_recovered_backend_comes_back_by_steps_of_a_tenth_and_no_further_than_its_own() -> None:
    low = (0.49, 0.49, 0.02)
    clean = gathered(CLEAN_WINDOWS, low, rate=(98, 98, 4), in_flight=(6, 6, 0.25))
    (found,) = only(situation(evidence=clean, set_to=knobs(weight=low)))
    assert found.reason is Reason.BACKEND_RECOVERED
    assert found.direction is Direction.LOOSEN
    assert not found.urgent
    assert "web-2" in found.summary
    assert shares(found)[2] == pytest.approx(0.02 + STEP, abs=1e-3)
    canary = (0.475, 0.475, 0.05)
    (found,) = only(situation(evidence=clean, set_to=knobs(weight=low), own_share=canary))
    assert shares(found)[2] == pytest.approx(0.05, abs=1e-3)


def test_a_canary_is_left_where_its_operator_put_it() -> None:
    canary = (0.475, 0.475, 0.05)
    clean = gathered(20, canary, rate=(95, 95, 10), in_flight=(6, 6, 0.6))
    assert only(situation(evidence=clean, set_to=knobs(weight=canary), own_share=canary)) == []


def test_one_that_gets_too_few_requests_to_judge_is_tried_with_more() -> None:
    low = (0.499, 0.499, 0.002)
    starved = gathered(20, low, rate=(100, 100, 0.05), in_flight=(6, 6, 0))
    assert starved.seconds[2] >= PATIENCE_S
    (found,) = only(situation(evidence=starved, set_to=knobs(weight=low)))
    assert shares(found)[2] == pytest.approx(0.02, abs=1e-3)


def test_a_pool_that_looks_alike_is_left_alone() -> None:
    assert only(situation(evidence=gathered(10))) == []
