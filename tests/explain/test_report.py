import json
from dataclasses import dataclass, replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console, RenderableType

from governor.domain import (
    ApiSignals,
    BackendSignals,
    EdgeSignals,
    Gap,
    GapReason,
    MeshFrame,
    MeshIndex,
    ServiceSignals,
)
from governor.explain.readiness import NEEDS, check_report, coverage, readiness
from governor.explain.report import Advice, table, to_html, to_json
from governor.explain.rows import row, rows, unknowns
from governor.explain.values import expected, in_words
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Direction,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    Proposal,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)
from governor.reasons import Reason


@dataclass(frozen=True)
class Held:
    proposal: Proposal
    reason: Reason
    detail: str = ""


PROPOSAL = Proposal(
    target=Target(TargetKind.EDGE, "gate>shop"),
    knob=Knob.IN_FLIGHT_CAP,
    current=InFlightCap(None, None),
    proposed=InFlightCap(40, 80),
    uncapped=InFlightCap(44, 88),
    direction=Direction.TIGHTEN,
    reason=Reason.CAP_MISSING,
    summary="gate>shop has no cap, <shop>: in flight none -> 44",
    evidence={"capacity": 100.0, "belief": float("nan")},
    hypothesis=Hypothesis("success_rate", 0.995, 30.0),
    confidence=0.9,
    traffic=50.0,
)
GAP = Gap("edge.rate", "gate>shop", GapReason.STALE, "41 s old")


def printed(what: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=160).print(what)
    return out.getvalue()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (RateLimit(120.0), "120 requests/s"),
        (RateLimit(None), "no limit"),
        (InFlightCap(40, None), "default 40, high not set"),
        (BackendWeights((("a", 0.25), ("b", 0.75))), "a 25 %, b 75 %"),
        (RetryPolicy(2, 0.2), "2 retries, budget 20 %"),
        (Timeout(2.5, 0.5), "2.5 s, per try 500 ms"),
        (OutlierDetection(0.3, 5), "eject at most 30 %, after 5 failures"),
        (ConnectionLimits(1024, 16), "1024 connections, 16 waiting"),
    ],
)
def test_values_in_words(value: KnobValue, words: str) -> None:
    assert in_words(value) == words


def test_expectation_in_words() -> None:
    assert expected(PROPOSAL.hypothesis) == "success at least 99.5 % within 30 s"


def test_only_gates_about_writing_leave_the_advice_standing() -> None:
    assert row(PROPOSAL).advice
    assert row(PROPOSAL, Reason.MODE_RECOMMEND).advice
    assert not row(PROPOSAL, Reason.LOW_TRUST).advice
    busy = replace(PROPOSAL, traffic=500.0)
    found = rows(
        [], [Held(PROPOSAL, Reason.MODE_RECOMMEND), Held(busy, Reason.DEAD_BAND), Held(busy, Reason.PAUSED)]
    )
    assert [(r.advice, r.traffic) for r in found] == [(True, 500.0), (True, 50.0), (False, 500.0)]


def test_a_sentence_with_the_laws_value_says_what_the_bounds_made_of_it() -> None:
    law = "gate>shop has no cap, <shop>: in flight none -> 44"
    bounded = "; within bounds and steps: default not set, high not set -> default 40, high 80"
    assert row(PROPOSAL).summary == law + bounded
    assert row(replace(PROPOSAL, proposed=PROPOSAL.uncapped)).summary == law


def test_unknown_is_told_once_for_each_subject_with_its_reasons() -> None:
    gaps = [
        GAP,
        Gap("edge.errors", "gate>shop", GapReason.STALE, "41 s old"),
        Gap("x", "y", GapReason.MISSING),
    ]
    found = unknowns(gaps)
    assert [(u.subject, u.reason) for u in found] == [
        ("gate>shop", "edge.rate, edge.errors: no fresh sample (41 s old)"),
        ("y", "x: series missing"),
    ]


def test_table_json_and_page_tell_the_same() -> None:
    advice = Advice(1e9, 15.0, [PROPOSAL], [Held(PROPOSAL, Reason.STALE, "41 s > 30 s")], [GAP], ["[a] note"])
    text = printed(table(advice))
    for part in (
        "GOV102",
        "default 40, high 80",
        "(default 44, high 88)",
        "held by GOV202: 41 s > 30 s",
        "?",
        "[a] note",
    ):
        assert part in text
    assert "1 recommendation, 1 held back. Window of 15 s up to 2001-09-09T01:46:40+00:00." in text
    body = json.loads(to_json(advice))
    assert [p["code"] for p in body["proposals"]] == ["GOV102", "GOV102"]
    assert body["proposals"][0]["values"]["proposed"] == {"default": 40, "high": 80}
    assert body["proposals"][0]["evidence"] == {"capacity": 100.0, "belief": None}
    assert body["unknown"][0]["value"] == "?"
    page = to_html(advice)
    assert "&lt;shop&gt;" in page
    assert "<shop>" not in page
    assert "http" not in page


def test_nothing_to_say_is_said() -> None:
    assert "Nothing to recommend." in printed(table(Advice(0.0, 15.0, [], [])))


def frame(**edge: float) -> MeshFrame:
    index = MeshIndex(("gate", "shop"), ("gate>shop",), np.array([0], np.int32), np.array([1], np.int32))
    known = {name: np.array([value], np.float32) for name, value in edge.items()}
    return MeshFrame(
        0.0,
        15.0,
        index,
        ServiceSignals.unknown(2),
        EdgeSignals.unknown(1, **known),
        BackendSignals.unknown(0),
        ApiSignals.unknown(0),
    )


def test_check_says_which_knobs_the_signals_enable() -> None:
    seen = frame(rate=5.0, in_flight=1.0, latency_mean=0.1)
    ready = {r.knob: r for r in readiness(seen)}
    assert {k for k, r in ready.items() if r.ready} == {Knob.IN_FLIGHT_CAP, Knob.CONNECTION_LIMITS}
    assert ready[Knob.RETRIES].missing == ("edge.attempts", "edge.retries")
    text = printed(check_report(seen, None))
    assert "2 services, 1 edge, 0 backends" in text
    assert "none kept" in text


def test_every_knob_has_needs_and_every_need_is_a_signal() -> None:
    assert set(NEEDS) == set(Knob)
    assert {name for names in NEEDS.values() for name in names} <= set(coverage(frame()))
