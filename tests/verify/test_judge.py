"""A write stays only if its effect was seen; what cannot be measured is undone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from governor.domain import ApiSignals, BackendSignals, EdgeSignals, MeshFrame, MeshIndex, ServiceSignals
from governor.knobs import Direction, Hypothesis, Knob, RateLimit, Receipt, Target, TargetKind, Timeout
from governor.reasons import Reason
from governor.verify.judge import Pending, blind, judge, measure

INDEX = MeshIndex(
    services=("client", "web", "db"),
    edges=("client>web", "web>db"),
    edge_caller=np.array([0, 1], np.int32),
    edge_callee=np.array([1, 2], np.int32),
    apis=("cart", "shop"),
    api_edge=np.zeros(2, np.int32),
)
EDGE = Target(TargetKind.EDGE, "web>db")
API = Target(TargetKind.API, "shop")


def column(value: float) -> np.ndarray:
    """`value` in the second row; nothing is known of the first."""
    return np.array([np.nan, value], np.float32)


def frame(
    *,
    rate: float = 100.0,
    errors: float = 0.0,
    attempts: float = 100.0,
    offered: float = 100.0,
    at: float = 130.0,
) -> MeshFrame:
    """The same figures on the edge and on the API."""
    return MeshFrame(
        at=at,
        window_s=15.0,
        index=INDEX,
        service=ServiceSignals.unknown(3),
        edge=EdgeSignals.unknown(2, rate=column(rate), errors=column(errors), attempts=column(attempts)),
        backend=BackendSignals.unknown(0),
        api=ApiSignals.unknown(2, offered=column(offered), completed=column(rate), errors=column(errors)),
    )


def pending(metric: str, bound: float, target: Target = EDGE) -> Pending:
    """Written at 100 s, due at 130 s."""
    before, after = Timeout(1.0, None), Timeout(0.5, None)
    receipt = Receipt(target, Knob.TIMEOUT, before, after)
    return Pending("d1", receipt, Hypothesis(metric, bound, 30.0), Direction.TIGHTEN, 100.0)


def verdict(metric: str, bound: float, seen: MeshFrame, target: Target = EDGE) -> Reason:
    (found,) = judge([pending(metric, bound, target)], seen)
    assert found.keep is (found.reason is Reason.KEPT)
    return found.reason


def test_nothing_is_judged_before_it_is_due() -> None:
    write = pending("success_rate", 0.9)
    assert judge([write], frame(at=129.9)) == ()
    (found,) = judge([write], frame(at=130.0))
    assert found.pending is write


@pytest.mark.parametrize(("errors", "reason"), [(10.0, Reason.KEPT), (10.1, Reason.UNDONE_FAILED)])
def test_success_must_reach_its_bound(errors: float, reason: Reason) -> None:
    assert verdict("success_rate", 0.9, frame(errors=errors)) is reason
    assert verdict("success_rate", 0.9, frame(errors=errors), API) is reason


@pytest.mark.parametrize(("attempts", "reason"), [(120.0, Reason.KEPT), (121.0, Reason.UNDONE_FAILED)])
def test_attempts_must_stay_below_their_bound(attempts: float, reason: Reason) -> None:
    assert verdict("attempts_ratio", 1.2, frame(attempts=attempts)) is reason


@pytest.mark.parametrize(("errors", "reason"), [(40.0, Reason.KEPT), (40.5, Reason.UNDONE_FAILED)])
def test_goodput_must_reach_its_bound_while_demand_is_there(errors: float, reason: Reason) -> None:
    assert verdict("goodput", 60.0, frame(errors=errors)) is reason
    assert verdict("goodput", 60.0, frame(errors=errors), API) is reason


def test_goodput_is_enough_where_all_that_was_asked_for_was_answered() -> None:
    assert verdict("goodput", 60.0, frame(rate=20.0, errors=0.39)) is Reason.KEPT
    assert verdict("goodput", 60.0, frame(rate=20.0, errors=0.5)) is Reason.UNDONE_FAILED
    assert verdict("goodput", 60.0, frame(rate=20.0, offered=20.0), API) is Reason.KEPT
    assert verdict("goodput", 60.0, frame(rate=20.0, offered=40.0), API) is Reason.UNDONE_FAILED


def test_goodput_is_kept_where_nothing_is_asked() -> None:
    assert verdict("goodput", 60.0, frame(rate=0.0, attempts=0.0)) is Reason.KEPT


@pytest.mark.parametrize("metric", ["success_rate", "attempts_ratio", "goodput"])
def test_what_cannot_be_measured_is_undone(metric: str) -> None:
    unknown = frame(rate=math.nan, errors=math.nan, attempts=math.nan, offered=math.nan)
    assert verdict(metric, 0.0, unknown) is Reason.UNDONE_UNMEASURED
    assert verdict(metric, 0.0, unknown, API) is Reason.UNDONE_UNMEASURED


@pytest.mark.parametrize("kind", list(TargetKind))
def test_a_target_that_is_gone_cannot_be_measured(kind: TargetKind) -> None:
    assert verdict("success_rate", 0.0, frame(), Target(kind, "gone")) is Reason.UNDONE_UNMEASURED


def test_an_api_and_an_edge_of_one_name_are_not_mixed_up() -> None:
    assert math.isnan(measure("success_rate", Target(TargetKind.API, "web>db"), frame()))
    assert math.isnan(measure("success_rate", Target(TargetKind.EDGE, "shop"), frame()))


def test_success_of_an_idle_target_is_whole_but_not_that_of_one_that_answers_nobody() -> None:
    assert measure("success_rate", API, frame(rate=0.0, offered=0.0)) == 1.0
    assert math.isnan(measure("success_rate", API, frame(rate=0.0, offered=50.0)))


def test_attempts_of_an_api_are_not_known() -> None:
    assert math.isnan(measure("attempts_ratio", API, frame()))


def test_blind_for_too_long_undoes_everything_due_or_not() -> None:
    writes = [pending("goodput", 1.0), pending("success_rate", 0.5, API)]
    found = blind(writes)
    assert [v.pending for v in found] == writes
    assert {v.reason for v in found} == {Reason.UNDONE_UNMEASURED}
    assert not any(v.keep for v in found)


def test_each_write_is_judged_by_itself() -> None:
    limit = Receipt(API, Knob.RATE_LIMIT, RateLimit(None), RateLimit(50.0))
    later = Pending("d2", limit, Hypothesis("goodput", 200.0, 10.0), Direction.TIGHTEN, 100.0)
    not_yet = Pending("d3", limit, Hypothesis("goodput", 1.0, 99.0), Direction.TIGHTEN, 100.0)
    found = judge([pending("success_rate", 0.9), later, not_yet], frame(errors=5.0))
    assert [(v.pending.decision, v.reason) for v in found] == [
        ("d1", Reason.KEPT),
        ("d2", Reason.UNDONE_FAILED),
    ]
    assert found[0].measured == pytest.approx(0.95)
