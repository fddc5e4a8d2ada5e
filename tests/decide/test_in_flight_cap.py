"""In-flight caps: Little's law, room for the high class and for lost capacity, and when they open at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from governor.decide.in_flight_cap import MIN_CAP, _part, propose, wanted
from governor.decide.situation import Situation
from governor.knobs import Direction, InFlightCap, Proposal
from governor.proposals import Proposals
from governor.reasons import Reason
from tests.decide.situations import BASE_S, ENTRY, INNER, belief, frame, knobs, situation

OPEN = {"timeout": (15, 15)}


def proposals(s: Situation) -> Sequence[Proposal]:
    return list(Proposals([propose(s)]))


def on(s: Situation, edge: str = "ingress>web") -> list[Proposal]:
    return [p for p in proposals(s) if p.target.name == edge]


def test_the_caps_are_littles_law_over_what_the_high_class_leaves() -> None:
    one_call = frame(edge={"attempts": (200, 0.001), "rate": (200, 0.001), "in_flight": (12, 0)})
    default, high = wanted(situation(seen=one_call, set_to=knobs(**OPEN)))
    tau = BASE_S * 3 / np.sqrt(400 * BASE_S)  # 20 workers
    assert default[ENTRY] == pytest.approx((400 - 60) * (0.06 + tau), rel=1e-3)
    assert high[ENTRY] == pytest.approx(400 * (0.06 + tau), rel=1e-3)


def test_the_high_class_has_room_for_its_bursts() -> None:
    rush = frame(api={"offered": (380, 300)})
    default, high = wanted(situation(seen=rush, set_to=knobs(**OPEN)))
    stay = high[ENTRY] / 400
    assert high[ENTRY] > 380 * 0.06 + 6 * np.sqrt(380 * 0.06) * 0.99
    assert default[ENTRY] < 0.1 * high[ENTRY] + MIN_CAP
    assert stay > 0.06


def test_a_short_timeout_of_a_try_shrinks_the_wait_but_not_to_nothing() -> None:
    patient = wanted(situation(set_to=knobs(timeout=(15, 15))))[1][ENTRY]
    hasty = wanted(situation(set_to=knobs(timeout=(15, 15), per_try_timeout=(0.35, 0.35))))[1][ENTRY]
    nothing = wanted(situation(set_to=knobs(timeout=(15, 15), per_try_timeout=(0.01, 0.01))))[1][ENTRY]
    assert nothing < hasty < patient
    assert nothing > 400 * (0.06 + 0.3 * BASE_S)


def test_a_caller_may_hold_what_waits_further_on() -> None:
    alone = frame(edge={"attempts": (200, 0.001), "rate": (200, 0.001), "in_flight": (12, 0)})
    assert wanted(situation())[1][ENTRY] > wanted(situation(seen=alone))[1][ENTRY]


def test_what_was_refused_counts_for_an_edges_part() -> None:
    refused = frame(edge={"attempts": (100, 100), "overflow": (100, 0)})
    s = situation(seen=refused)
    np.testing.assert_allclose(s.edge_share, [1.0, 1.0])


def test_caps_grow_with_capacity_and_never_fall_below_the_least() -> None:
    caps = [
        wanted(situation(believed=belief(capacity=np.array([np.nan, c, 1000.0]))))[0][ENTRY]
        for c in (1.0, 50.0, 100.0, 400.0, 4000.0)
    ]
    assert caps == sorted(caps)
    assert caps[0] == MIN_CAP


def test_an_unknown_capacity_leaves_half_the_objective() -> None:
    s = situation(believed=belief(capacity=np.full(3, np.nan)))
    default, high = wanted(s)
    assert default[ENTRY] == high[ENTRY] == pytest.approx(200 * 0.5 / 2)


def test_a_missing_cap_is_set_at_once() -> None:
    (found,) = on(situation())
    assert found.reason is Reason.CAP_MISSING
    assert found.direction is Direction.TIGHTEN
    assert found.urgent
    assert isinstance(found.proposed, InFlightCap)


def test_a_quiet_edge_is_left_alone() -> None:
    quiet = frame(edge={"rate": (1, 1), "attempts": (1, 1)})
    assert proposals(situation(seen=quiet)) == []


def test_a_cap_that_refuses_what_an_idle_callee_could_carry_opens_at_once() -> None:
    tight = frame(edge={"overflow": (20, 0)})
    (found,) = on(situation(seen=tight, set_to=knobs(cap_default=(8, 60), cap_high=(60, 60))))
    assert found.reason is Reason.CAP_TOO_TIGHT
    assert found.direction is Direction.LOOSEN
    assert found.urgent
    busy = belief(calm=np.zeros(3, np.bool_))
    (found,) = on(situation(seen=tight, set_to=knobs(cap_default=(8, 60), cap_high=(60, 60)), believed=busy))
    assert found.reason is Reason.CAP_FOLLOWS_CAPACITY
    assert not found.urgent


def test_a_cap_that_refuses_more_than_the_model_allows_grows_from_what_is_set() -> None:
    tight = frame(edge={"overflow": (20, 0)})
    default, _ = wanted(situation(seen=tight, set_to=knobs(cap_default=(100, 60), cap_high=(100, 60))))
    assert default[ENTRY] == pytest.approx(150)


def test_a_generous_cap_of_an_idle_callee_is_left_and_tightened_once_it_queues() -> None:
    default, high = wanted(situation())
    generous = knobs(cap_default=(1.5 * default[ENTRY], default[INNER]), cap_high=(high[ENTRY], high[INNER]))
    assert on(situation(set_to=generous)) == []
    full = belief(calm=np.zeros(3, np.bool_), saturated=np.array([False, True, False]))
    (found,) = on(situation(set_to=generous, believed=full))
    assert found.direction is Direction.TIGHTEN
    assert found.urgent


def test_small_moves_are_not_worth_a_write_but_more_room_for_the_high_class_is() -> None:
    default, high = wanted(situation())
    near = knobs(cap_default=(1.1 * default[ENTRY], default[INNER]), cap_high=(1.1 * high[ENTRY], high[INNER]))
    assert on(situation(set_to=near)) == []
    short = knobs(cap_default=(default[ENTRY], default[INNER]), cap_high=(0.88 * high[ENTRY], high[INNER]))
    assert len(on(situation(set_to=short))) == 1


def test_edges_into_one_service_hold_together_at_least_what_it_may() -> None:
    share = np.array([0.5, 0.5])
    whole = 40.0
    assert _part(np.full(2, whole), share).sum() >= whole
    assert _part(np.array([whole]), np.array([1.0]))[0] == whole


def test_services_without_requests_are_no_matter() -> None:
    dead = frame(edge={"rate": (200, 0), "attempts": (200, 0), "in_flight": (12, 0)})
    default, high = wanted(situation(seen=dead))
    assert np.isnan(default[INNER])
    assert np.isnan(high[INNER])
    assert np.isfinite(default[ENTRY])
