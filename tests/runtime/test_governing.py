"""What one cycle tells the instance's metrics and its page."""

from __future__ import annotations

import numpy as np
import pytest

from governor.adapters.memory import MemoryLedger
from governor.explain.report import to_html
from governor.policy import load_policies
from governor.runtime import governing
from governor.runtime.governing import Governing, advice_of
from governor.runtime.metrics import GovernorMetrics
from governor.runtime.status import Status
from governor.turn import CycleOptions, Ports
from tests.benchmarks.cycle import FrameClock, SyntheticSource, make_frame, make_index


def instance(cycles: int = 1, services: int = 10) -> tuple[Governing, GovernorMetrics, Status]:
    rng = np.random.default_rng(0)
    index = make_index(services, rng)
    source = SyntheticSource([make_frame(index, rng, 15.0 * i) for i in range(cycles)])
    metrics, status = GovernorMetrics("1", "recommend"), Status(15.0)
    options = CycleOptions(load_policies(["balanced"]))
    ports = Ports(source, None, MemoryLedger(), FrameClock())
    return Governing(ports, lambda: options, metrics, status), metrics, status


def test_metrics_count_every_proposal_by_knob_reason_and_gate() -> None:
    governor, metrics, _ = instance(cycles=2)
    results = [governor.once(), governor.once()]
    caps = sum(p.knob.value == "in-flight-cap" for r in results if r is not None for p in r.proposals)
    text = metrics.exposition().decode()
    assert caps > 100
    assert f'governor_held_total{{code="GOV204",knob="in-flight-cap"}} {caps}.0' in text
    assert f'governor_proposals_total{{code="GOV102",knob="in-flight-cap"}} {caps}.0' in text


def test_the_page_shows_the_most_pressing_and_says_how_many_more_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(governing, "LISTED", 5)
    governor, _, status = instance()
    result = governor.once()
    assert result is not None
    shown = status.snapshot.advice
    assert shown is not None
    assert [h.proposal.target for h in shown.held] == [h.proposal.target for h in result.plan.held[:5]]
    assert f"Of {len(result.plan.held)} changes held back these are the 5 most pressing" in to_html(shown)
    assert advice_of(result).count == len(result.proposals)


def test_a_page_that_shows_all_says_nothing_of_more() -> None:
    governor, _, status = instance(services=3)
    result = governor.once()
    assert result is not None
    assert status.snapshot.advice is not None
    assert len(status.snapshot.advice.held) == len(result.plan.held)
    assert status.snapshot.advice.notes == ()
