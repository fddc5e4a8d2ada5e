"""Timeouts, outlier detection and connection limits: what they propose, and where they keep silent."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from governor.decide import connection_limits, in_flight_cap, outlier_detection, timeouts
from governor.decide.situation import Situation
from governor.knobs import ConnectionLimits, Direction, OutlierDetection, Proposal, Timeout
from governor.proposals import Proposals
from governor.reasons import Reason
from tests.decide.situations import ENTRY, belief, frame, knobs, situation


def on(law: ModuleType, s: Situation, edge: str = "ingress>web") -> list[Proposal]:
    return [p for p in Proposals([law.propose(s)]) if p.target.name == edge]


def busy(**edge: tuple[float, float]) -> Situation:
    """Enough requests in the window to tell its last thousandth."""
    return situation(seen=frame(edge={"rate": (300, 250), "attempts": (300, 250), **edge}))


NEED_S = 2 * 0.2
"""Twice p99; 1.3 times p99.9 is less."""


def with_timeout(seconds: float, inner: float = 0.2, **edge: tuple[float, float]) -> Situation:
    base = busy(**edge)
    return situation(seen=base.frame, set_to=knobs(timeout=(seconds, inner), per_try_timeout=(np.nan, np.nan)))


def test_a_timeout_that_cuts_off_healthy_answers_grows_by_a_fifth_at_most() -> None:
    (found,) = on(timeouts, with_timeout(0.3))
    assert found.reason is Reason.TIMEOUT_TOO_SHORT
    assert found.proposed == Timeout(pytest.approx(0.36), None)
    assert found.direction is Direction.LOOSEN


def test_a_timeout_far_above_what_is_needed_shrinks_by_a_fifth() -> None:
    (found,) = on(timeouts, with_timeout(15))
    assert found.reason is Reason.TIMEOUT_TOO_LONG
    assert found.proposed == Timeout(pytest.approx(12), None)


def test_a_timeout_that_fits_is_left_alone() -> None:
    assert on(timeouts, with_timeout(3 * NEED_S)) == []


def test_a_callee_that_may_take_longer_than_its_caller_is_told() -> None:
    (found,) = on(
        timeouts, with_timeout(1.0, inner=1.2, latency_p99=(0.2, 0.2), latency_p999=(0.3, 0.3)), "web>db"
    )
    assert found.reason is Reason.TIMEOUT_ORDER
    assert found.proposed == Timeout(pytest.approx(0.96), None)


@pytest.mark.parametrize("edge", [{"errors": (30, 0)}, {"rate": (50, 50)}])
def test_an_unhealthy_or_quiet_edge_says_nothing_of_its_timeout(edge: dict[str, tuple[float, float]]) -> None:
    assert on(timeouts, with_timeout(15, **edge)) == []


def test_a_timeout_is_never_shortened_under_overload() -> None:
    s = with_timeout(15)
    full = belief(saturated=np.array([False, True, False]))
    assert on(timeouts, situation(seen=s.frame, set_to=s.knobs, believed=full)) == []


def detecting(share: float, arrivals: float = 200) -> Situation:
    seen = frame(edge={"attempts": (arrivals, 100), "rate": (arrivals, 100)})
    return situation(seen=seen, set_to=knobs(max_ejection=(share, np.nan), consecutive_5xx=(5, np.nan)))


def test_ten_per_cent_of_three_hosts_ejects_nobody() -> None:
    (found,) = on(outlier_detection, detecting(0.1))
    assert found.reason is Reason.EJECTION_INEFFECTIVE
    assert isinstance(found.proposed, OutlierDetection)
    assert found.proposed.max_ejection == pytest.approx(1 / 3, abs=1e-3)
    assert found.direction is Direction.LOOSEN


def test_no_more_hosts_may_go_than_the_rest_can_stand_for() -> None:
    (found,) = on(outlier_detection, detecting(0.4, arrivals=330))
    assert found.reason is Reason.EJECTION_TOO_WIDE
    assert isinstance(found.proposed, OutlierDetection)
    assert found.proposed.max_ejection == 0
    assert found.direction is Direction.TIGHTEN


def test_outlier_detection_that_is_off_or_fits_is_left_alone() -> None:
    assert on(outlier_detection, situation()) == []
    assert on(outlier_detection, detecting(0.334)) == []


def test_failures_in_a_row_are_such_that_healthy_hosts_are_ejected_less_than_once_a_week() -> None:
    row = outlier_detection.consecutive_failures(200, 0.01)
    assert 200 * 604800 * 0.01**row <= 1 < 200 * 604800 * 0.01 ** (row - 1)


def test_a_pool_smaller_than_the_caps_need_is_widened_and_never_narrowed() -> None:
    tight = situation(set_to=knobs(max_connections=(10, 5000), max_pending=(1, 5000)))
    default, high = in_flight_cap.wanted(tight)
    (found,) = on(connection_limits, tight)
    both = default[ENTRY] + high[ENTRY]
    assert found.reason is Reason.POOL_LIMIT
    assert found.direction is Direction.LOOSEN
    assert isinstance(found.proposed, ConnectionLimits)
    assert found.proposed.max_connections == pytest.approx(np.ceil(1.5 * both))
    assert on(connection_limits, tight, "web>db") == []


def test_without_limits_on_connections_nothing_is_said() -> None:
    assert on(connection_limits, situation()) == []
