"""What detection and prediction say makes laws more careful, never bolder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from governor.decide import outlier_detection, rate_limit, retries, timeouts
from governor.decide.laws import decide
from governor.decide.outlook import Outlook
from governor.knobs import Knob, KnobState

from .situations import chain, frame, policy_of, situation

INDEX = chain(pool=4)
CALM = Outlook.calm(INDEX)
ABNORMAL = replace(CALM, abnormal=np.ones(2, np.bool_))
GROWING = replace(CALM, growth=np.full(3, 3.0))


def test_a_timeout_is_frozen_while_its_edge_is_abnormal() -> None:
    given = {"knobs": {"timeout": [30.0, 20.0]}}
    assert len(timeouts.propose(situation(INDEX, **given))) == 2
    assert not len(timeouts.propose(situation(INDEX, **given, outlook=ABNORMAL)))


def test_outlier_detection_is_left_alone_while_its_edge_is_abnormal() -> None:
    given = {"knobs": {"max_ejection": 0.1, "consecutive_5xx": 5.0}}
    assert len(outlier_detection.propose(situation(INDEX, **given)))
    assert not len(outlier_detection.propose(situation(INDEX, **given, outlook=ABNORMAL)))


def test_fewer_hosts_may_be_ejected_when_load_is_coming() -> None:
    given = {"edge": {"rate": [400.0, 400.0]}}
    now, soon = (
        outlier_detection.largest_ejection(situation(INDEX, **given, outlook=o)) for o in (CALM, GROWING)
    )
    assert now == pytest.approx([0.5, 0.5])
    assert soon == pytest.approx([0.0, 0.0])


def test_retries_get_the_budget_of_the_load_to_come() -> None:
    given = {"edge": {"rate": [580.0, 580.0]}}
    now, soon = (retries.budget(situation(INDEX, **given, outlook=o)) for o in (CALM, GROWING))
    assert now == pytest.approx([0.2, 0.2])
    assert (soon < now).all()


def test_a_limit_makes_room_for_load_to_come_only_where_no_cap_guards() -> None:
    one = situation(INDEX, outlook=GROWING)
    offered = one.frame.api.offered.astype(float)
    assert rate_limit.demand(one, np.array([True, False])) == pytest.approx([offered[0], 3 * offered[1]])
    assert rate_limit.demand(situation(INDEX), np.array([False, False])) == pytest.approx(
        offered + 2 * np.sqrt(offered / 15.0)
    )


def test_what_is_known_of_a_target_is_among_the_evidence_of_its_proposals() -> None:
    told = replace(CALM, blame=np.array([0.0, 0.0, 0.8]), growth=np.array([1.0, 1.5, 1.0]))
    seen = frame(INDEX)
    knobs, policy = KnobState.unset(INDEX), policy_of(INDEX)
    _, proposals = decide(None, seen, knobs, policy, 15.0, outlook=told)
    _, calm = decide(None, seen, knobs, policy, 15.0)
    evidence = {p.target.name: p.evidence for p in proposals if p.knob is Knob.IN_FLIGHT_CAP}
    assert evidence["front|back"]["explains_share"] == 0.8
    assert "expected_growth" not in evidence["front|back"]
    assert evidence["client|front"]["expected_growth"] == 0.5
    assert [p.proposed for p in proposals] == [p.proposed for p in calm]
    assert not any("explains_share" in p.evidence for p in calm)
