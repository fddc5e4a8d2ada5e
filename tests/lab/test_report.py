"""The report page: its numbers, its safety, and what a real browser makes of it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from governor.errors import LabError
from governor.knobs import (
    VALUE_TYPES,
    BackendWeights,
    InFlightCap,
    Knob,
    KnobValue,
    RateLimit,
    RetryPolicy,
    value_to_json,
)
from governor.lab.arrivals import arrivals
from governor.lab.document_files import load_scenario
from governor.lab.documents import Fault, Scenario
from governor.lab.report import build, ledger_lines, picture, words
from governor.lab.report.build import Floats
from governor.lab.report.data import ArmName, Decision, ReportData
from governor.lab.report.page import embedded, render, write_report
from governor.lab.results import LoadResult, Outcome
from governor.ports import Entry
from governor.reasons import Reason

EPOCH = 1_800_000_000.0
CART = "127.0.77.1:19012"
EVIL = '</script><script>alert("x")</script><!-- & \u2028 <img src=x onerror=alert(1)>'


def result_of(requests: list[tuple[float, int, Outcome, float]], seconds: float = 3.0) -> LoadResult:
    """Rows of (intended s, class, outcome, latency s)."""
    intended, klass, outcome, latency = zip(*requests, strict=True)
    return LoadResult(
        ("shop.high", "shop.low"),
        seconds,
        0.2,
        1.0,
        np.array(intended),
        np.array(klass, np.int8),
        np.array(outcome, np.int8),
        np.array(latency, np.float32),
        np.ones(len(requests), np.int16),
    )


def synthetic(scenario: Scenario, good: Mapping[int, float], seed: int) -> LoadResult:
    """A run with the scenario's arrivals, of which a share is good that steps at the seconds of `good`."""
    intended, klass = arrivals(scenario)
    rng = np.random.default_rng(seed)
    steps = np.array(sorted(good))
    share = np.array([good[s] for s in steps])[np.searchsorted(steps, intended, side="right") - 1]
    fine = rng.random(len(intended)) < share
    refused = rng.random(len(intended)) < 0.5
    bad = np.where(refused, Outcome.REJECTED_429, Outcome.TIMEOUT)
    latency = rng.lognormal(math.log(0.12), 0.4, len(intended)) * (1 + 2 * (1 - share))
    return LoadResult(
        tuple(scenario.load.classes),
        scenario.duration_s,
        scenario.slo.latency_s,
        scenario.slo.timeout_s,
        intended,
        klass,
        np.where(fine, Outcome.OK, bad).astype(np.int8),
        latency.astype(np.float32),
        np.ones(len(intended), np.int16),
    )


class Book:
    """Ledger entries as the cycle writes them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def change(
        self,
        at_s: float,
        target: str,
        before: KnobValue,
        after: KnobValue,
        reason: Reason,
        summary: str = "the callee is busy",
        verdict: Reason | None = Reason.KEPT,
        evidence: Mapping[str, float | None] | None = None,
    ) -> str:
        name = f"{len(self.entries):05x}"
        knob = next(k for k, kind in VALUE_TYPES.items() if isinstance(after, kind))
        hypothesis = {"metric": "success_rate", "bound": 0.9, "window_s": 4.0}
        more = {"evidence": dict(evidence or {}), "hypothesis": hypothesis}
        wanted = (
            RateLimit(rate * 0.9)
            if isinstance(after, RateLimit) and (rate := after.requests_per_second)
            else after
        )
        more["uncapped"] = value_to_json(wanted)
        values = {"before": value_to_json(before), "after": value_to_json(after)}
        self._add(name, at_s, "intent", target, knob, reason, summary, {**values, **more})
        if verdict is not Reason.REJECTED:
            self._add(name, at_s, "receipt", target, knob, reason, summary, values)
        if verdict is not None:
            self._add(
                name,
                at_s + 8,
                "verdict",
                target,
                knob,
                verdict,
                verdict.sentence,
                {"measured": 0.5, "bound": 0.9},
            )
        return name

    def _add(
        self,
        name: str,
        at_s: float,
        kind: str,
        target: str,
        knob: Knob,
        reason: Reason,
        text: str,
        body: dict[str, Any],
    ) -> None:
        number = len(self.entries)
        self.entries.append(Entry(name, EPOCH + at_s, number, kind, target, knob.value, reason.code, text, body))


def demo_book() -> Book:
    book = Book()
    edge, cart = "edge/out|cart|db", "edge/out|frontend|cart"
    book.change(4.1, edge, InFlightCap(None, None), InFlightCap(30, 42), Reason.CAP_MISSING,
                "cart to db has no cap; it carries 280 requests/s with 14 in flight")  # fmt: skip
    shares = [0.333, 0.24, 0.15, 0.06, 0.02]
    for number, (old, new) in enumerate(pairwise(shares)):
        pair = [BackendWeights(((CART, s), ("127.0.77.1:19010", (1 - s) / 2), ("127.0.77.1:19011", (1 - s) / 2)))
                for s in (old, new)]  # fmt: skip
        book.change(28.2 + 4 * number, cart, *pair, Reason.BACKEND_SLOW,
                    f"{CART} on out|frontend|cart takes 0.61 s where its peers take 0.06 s: 24 % -> 15 %",
                    evidence={"latency_s": 0.61, "pool_latency_s": 0.062, "error_share": None})  # fmt: skip
    rates = [None, 180.0, 150.0, 140.0, 175.0, 219.0, 273.0]
    for number, (low, high) in enumerate(pairwise(rates)):
        book.change(67.0 + 4 * number, "api/search.low", RateLimit(low), RateLimit(high),
                    Reason.OVERLOAD if number < 3 else Reason.DEMAND_FITS,
                    f"search.low asks for 480 requests/s, search carries 267: limit {low} to {high}",
                    Reason.SUPERSEDED if number < 2 else Reason.KEPT,
                    evidence={"offered_rps": 478.2, "allocated_rps": high, "tier": 1.0})  # fmt: skip
    book.change(117.3, edge, RetryPolicy(2, None), RetryPolicy(1, 0.2), Reason.RETRY_STORM,
                "retries are 58 % of attempts from cart to db")  # fmt: skip
    book.change(121.4, "api/browse.low", RateLimit(None), RateLimit(55.0), Reason.OVERLOAD)
    book.change(125.4, "edge/out|catalog|db", InFlightCap(None, None), InFlightCap(9, None),
                Reason.CAP_FOLLOWS_CAPACITY, verdict=Reason.UNDONE_FAILED)  # fmt: skip
    book.change(156.0, edge, RetryPolicy(1, 0.2), RetryPolicy(2, 0.2), Reason.RETRY_RESTORED, verdict=None)
    return book


@pytest.fixture(scope="module")
def demo() -> ReportData:
    scenario = load_scenario("demo_mesh")
    governed = synthetic(scenario, {0: 0.995, 15: 0.8, 23: 0.98, 60: 0.3, 62: 0.5, 85: 0.99, 105: 0.4, 109: 0.6,
                                    117: 0.98}, 1)  # fmt: skip
    ungoverned = synthetic(scenario, {0: 0.995, 15: 0.66, 40: 0.99, 60: 0.2, 87: 0.97, 105: 0.1, 120: 0.04}, 2)
    names = {CART: "cart-2", "127.0.77.1:19010": "cart-0", "127.0.77.1:19011": "cart-1"}
    retries: dict[ArmName, Floats] = {"governed": np.full(160, 2.0), "ungoverned": np.arange(160.0)}
    return build.report_data(scenario, governed, ungoverned, demo_book().entries, EPOCH, names, retries)


def test_series_count_by_intended_second_and_failures_as_timeouts() -> None:
    arm = build.arm_of(
        "governed",
        result_of([
            (0.1, 0, Outcome.OK, 0.1), (0.9, 1, Outcome.OK, 0.5),
            (2.0, 1, Outcome.REJECTED_429, 0.01), (2.5, 0, Outcome.OK, 0.05),
        ]),
    )  # fmt: skip
    assert arm.offered == (2, 0, 2)
    assert arm.goodput == (1, 0, 1)
    assert arm.goodput_by_class == {"shop.high": (1, 0, 1), "shop.low": (0, 0, 0)}
    assert arm.success == (1, None, 0.5)
    assert arm.p99_s[1] is None
    assert arm.p99_s[0] == pytest.approx(0.496)
    assert arm.p99_s[2] == pytest.approx(0.05 + 0.99 * 0.95)


def test_a_share_is_of_what_was_possible_and_recovery_counts_from_the_faults_end(small: Scenario) -> None:
    fault = Fault(kind="load_spike", at_s=2, for_s=3, factor=2)
    scenario = small.model_copy(update={"duration_s": 12.0, "faults": (fault,)})
    rows = [(s + n / 10 + 0.05, n % 2, Outcome.OK, 0.1) for s in range(12) for n in range(10)]
    late = [(t, k, Outcome.OK if t < 2 or t > 8 else Outcome.TIMEOUT, lat) for t, k, _, lat in rows]
    never = [(t, k, Outcome.OK if t < 3.5 else Outcome.TIMEOUT, lat) for t, k, _, lat in rows]
    data = build.report_data(scenario, result_of(late, 12), result_of(never, 12), (), EPOCH)
    (finding,) = data.findings
    assert finding.optimum_rps == pytest.approx(10)
    assert (finding.governed.share, finding.governed.recovery_s) == (0, 3)
    assert finding.ungoverned.share == pytest.approx(0.5)
    assert finding.governed.share_after == pytest.approx(4 / 7, abs=0.02)
    assert finding.ungoverned.share_after == 0
    assert finding.ungoverned.recovery_s == math.inf
    assert words.sentence(finding) == ("all load × 2, 2–5 s: governed 0 % of the best possible, ungoverned 50 %")
    assert data.duration_s == len(data.optimum) == 12


def test_a_fault_may_bring_its_own_name() -> None:
    fault = Fault(kind="load_spike", at_s=2, for_s=3, factor=2, label="the sale begins")
    assert build.label(fault) == "the sale begins"


def test_a_counter_grows_by_the_second_and_what_is_not_known_is_a_gap() -> None:
    growth = build.by_second({1: 5.0, 2: 7.0, 3: 1.0, 5: 4.0}, 5)
    assert growth[:2].tolist() == [5, 2]
    assert np.isnan(growth[2:]).all()


def test_a_scheduled_load_above_capacity_is_a_fault_of_its_own() -> None:
    (band,) = build.fault_bands(load_scenario("overload"), 80)
    assert (band.start_s, band.end_s, band.label) == (15, 75, "demand above capacity")
    assert build.fault_bands(load_scenario("overload"), 15) == ()
    assert build.fault_bands(load_scenario("overload"), 30)[0].end_s == 30


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kind": "capacity_drop", "service": "db", "factor": 0.4}, "db keeps 40 % of its workers"),
        ({"kind": "slow_replica", "service": "cart", "replica": 2, "factor": 10},
         "cart replica 2: 10 × slower"),
        ({"kind": "failing_replica", "service": "a", "replica": 0, "error_rate": 0.8},
         "a replica 0 fails 80 % of requests"),
        ({"kind": "load_spike", "api": "s.low", "factor": 12}, "s.low load × 12"),
        ({"kind": "retry_happy_clients", "attempts": 3}, "all clients retry 3 times"),
    ],
)  # fmt: skip
def test_every_kind_of_fault_has_words(fields: dict[str, Any], expected: str) -> None:
    assert build.label(Fault(at_s=0, for_s=1, **fields)) == expected


def test_knob_lines_follow_receipts_and_undoing() -> None:
    book = Book()
    book.change(5, "api/a.low", RateLimit(None), RateLimit(100), Reason.OVERLOAD)
    book.change(10, "api/a.low", RateLimit(100), RateLimit(50), Reason.OVERLOAD, verdict=Reason.UNDONE_FAILED)
    book.change(12, "edge/out|a|b", InFlightCap(None, None), InFlightCap(9, None), Reason.CAP_MISSING,
                verdict=Reason.REJECTED)  # fmt: skip
    (panel,) = ledger_lines.panels(reversed(book.entries), EPOCH, 100, {})
    assert (panel.title, panel.unit, panel.unset) == ("Rate limits", "requests/s", "no limit")
    (line,) = panel.lines
    assert (line.name, line.points) == ("a.low", ((0, None), (5, 100), (10, 50), (18, 100)))


def test_every_knob_has_a_panel_and_unset_settings_have_no_line() -> None:
    data = {
        Knob.TIMEOUT: {"request_s": 1.5, "per_try_s": None},
        Knob.OUTLIER_DETECTION: {"max_ejection": 0.3, "consecutive_5xx": 5},
        Knob.CONNECTION_LIMITS: {"max_connections": 90, "max_pending_requests": 10},
        Knob.RETRIES: {"attempts": 1, "budget": 0.2},
        Knob.IN_FLIGHT_CAP: {"default": 9, "high": 12},
        Knob.WEIGHTS: {"shares": {"x:1": 0.4, "x:2": 0.6}},
        Knob.RATE_LIMIT: {"requests_per_second": 7},
    }
    entries = [
        Entry(knob, EPOCH + 1, 1, "receipt", "edge/out|a|b", knob, "GOV101", "", {"before": v, "after": v})
        for knob, v in data.items()
    ]
    found = {
        p.title: [line.name for line in p.lines] for p in ledger_lines.panels(entries, EPOCH, 9, {"x:2": "b-1"})
    }
    assert list(found) == [title for title, _, _ in ledger_lines.PANELS]
    assert found["Timeouts"] == ["a → b"]
    assert found["Weights of backends"] == ["a → b: b-1", "a → b: x:1"]
    assert found["Connection limits"] == ["a → b", "a → b, waiting"]


def test_decisions_tell_what_why_and_what_became_of_it(demo: ReportData) -> None:
    by_outcome = {d.outcome: d for d in demo.decisions}
    assert set(by_outcome) == {"kept", "undone", "replaced", "open"}
    weights = next(d for d in demo.decisions if d.knob == "weights")
    assert weights.target == "frontend → cart"
    assert weights.before.startswith("cart-2 33.3 %")
    assert weights.summary == "cart-2 on frontend → cart takes 0.61 s where its peers take 0.06 s: 24 % → 15 %"
    assert words.evidence_in_words(weights.evidence) == ["latency 610 ms", "pool latency 62 ms", "error share ?"]
    limit = next(d for d in demo.decisions if d.knob == "rate-limit")
    assert (limit.after, limit.uncapped) == ("180 requests/s", "162 requests/s")
    assert "without bounds and steps: 162 requests/s" in words.decision_rows([limit])
    assert "without bounds" not in words.decision_rows([weights])
    assert by_outcome["undone"].verdict == (
        f"{Reason.UNDONE_FAILED.sentence}: needed success at least 90 % within 4 s, measured 50 %"
    )
    assert by_outcome["open"].verdict.startswith("the run ended before its effect was due: needed success")
    assert [d.at_s for d in demo.decisions] == sorted(d.at_s for d in demo.decisions)


def test_tally_counts(demo: ReportData) -> None:
    assert words.tally(()) == "The governor changed nothing."
    assert words.tally(demo.decisions).startswith(f"{len(demo.decisions)} changes: ")
    counts = [int(n) for n in re.findall(r"[:;] (\d+) ", words.tally(demo.decisions))]
    assert sum(counts) == len(demo.decisions)
    assert words.headline(replace(demo, findings=())) == "Nothing went wrong in this run."


def test_the_overall_share_counts_what_comes_after_a_fault_but_not_before_the_first(demo: ReportData) -> None:
    first = int(demo.faults[0].start_s)
    best = replace(demo.governed, goodput=(0.0,) * first + demo.optimum[first:])
    assert words.overall_share(demo, best) == pytest.approx(1.0)
    late = replace(best, goodput=(*best.goodput[:-30], *(0.0,) * 30))
    lost = sum(v or 0.0 for v in demo.optimum[-30:]) / sum(v or 0.0 for v in demo.optimum[first:])
    assert words.overall_share(demo, late) == pytest.approx(1.0 - lost)
    said = words.headline(replace(demo, governed=late))
    assert f"governed mesh gave {words.percent_or_unknown(1 - lost)} " in said


def evil(data: ReportData) -> ReportData:
    decision = Decision(
        1, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, "GOV302", EVIL, EVIL + EVIL, {EVIL: 1.0}
    )
    fault = replace(data.findings[0], fault=replace(data.findings[0].fault, label=EVIL))
    arm = replace(data.governed, goodput_by_class={EVIL: data.governed.goodput})
    return replace(data, title=EVIL, description=EVIL, decisions=(decision,), findings=(fault,), governed=arm)


def test_text_from_outside_stays_text(demo: ReportData) -> None:
    page = render(evil(demo))
    assert page.count("<script") == page.count("</script>") == 3
    assert "<img" not in page
    assert "<!--" not in page
    assert html.escape(EVIL) in page
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert json.loads(block[1])["decisions"][0]["target"] == EVIL


def test_json_holds_no_markup_and_no_nan() -> None:
    text = embedded({"a": [math.nan, math.inf, 1.5], "b": "</script>&\u2029"})
    assert not set("<>&\u2029") & set(text)
    assert json.loads(text) == {"a": [None, None, 1.5], "b": "</script>&\u2029"}


def test_the_policy_allows_exactly_what_is_on_the_page(demo: ReportData) -> None:
    page = render(demo)
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found is not None
    policy = dict(part.split(" ", 1) for part in found[1].split("; "))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in found[1]
    for directive, pattern in (("script-src", r"<script>(.*?)</script>"), ("style-src", r"<style>(.*?)</style>")):
        digests = [hashlib.sha256(text.encode()).digest() for text in re.findall(pattern, page, re.DOTALL)]
        assert policy[directive].split() == [f"'sha256-{base64.b64encode(d).decode()}'" for d in digests]
        assert len(digests) == 2
    assert not re.search(r'\sstyle="|\son\w+="', page)


def test_nothing_is_fetched_and_the_charts_licence_is_there(demo: ReportData) -> None:
    page = render(demo)
    urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s)\"']*", page))
    # the comment that names uPlot's home, and the name of SVG's namespace: neither is fetched
    assert urls == {"https://github.com/leeoniya/uPlot", "http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|iframe|object|embed)\b|@import|url\(|\bsrc=", page)
    assert "Copyright (c) 2022 Leon Sorokin" in page
    assert "THE SOFTWARE IS PROVIDED" in page


def test_a_report_is_written_whole_or_not_at_all(demo: ReportData, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("before")
    write_report(page, demo)
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert list(tmp_path.iterdir()) == [page]
    with pytest.raises(LabError, match=r"nowhere.*cannot be written"):
        write_report(tmp_path / "nowhere" / "report.html", demo)
    taken = tmp_path / "folder"
    taken.mkdir()
    with pytest.raises(LabError, match="folder"):
        write_report(taken, demo)
    assert sorted(tmp_path.iterdir()) == [taken, page]


def test_without_a_browser_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="install chromium"):
        picture.screenshot(tmp_path / "page.html", tmp_path / "page.png")


@pytest.fixture
def real_browser(absent: Callable[[str], NoReturn]) -> str:
    """Chromium; without it the test is skipped, in CI it fails."""
    try:
        return picture.browser()
    except LabError as error:
        absent(str(error))


def opened(page: Path, *flags: str) -> str:
    return picture.run_browser(page, "--dump-dom", "--virtual-time-budget=3000", *flags)


@pytest.mark.browser
@pytest.mark.usefixtures("real_browser")
@pytest.mark.timeout(120)
class TestInChromium:
    def test_the_page_draws_itself_without_an_error(self, demo: ReportData, tmp_path: Path) -> None:
        write_report(tmp_path / "report.html", demo)
        dom = opened(tmp_path / "report.html")
        body = re.search(r"<body[^>]*>", dom)
        assert body is not None
        charts = 4 + len(demo.governed.goodput_by_class) + len(demo.panels)
        assert 'data-ready="true"' in body[0]
        assert "data-errors" not in body[0]
        assert f'data-charts="{charts}"' in body[0]
        assert dom.count("<canvas") == charts
        marks = re.findall(r'<a class="mark \w+" href="#(d\d+)"', dom)
        assert marks
        assert set(marks) <= set(re.findall(r'<tr id="(d\d+)"', dom))
        # each decision can be read at some mark
        assert dom.count(" GOV") >= len(demo.decisions)

    def test_a_mark_reached_by_keyboard_tells_its_decision_and_moves_every_cursor(
        self, demo: ReportData, tmp_path: Path
    ) -> None:
        page = tmp_path / "report.html"
        hand = """<script>
            const mark = document.querySelector('a.mark[href="#d5"]');
            mark.focus();
            // a timer runs within the browser's virtual time, where a busy machine may skip frames
            setTimeout(() => {
              document.body.dataset.active = String(document.activeElement === mark);
              document.body.dataset.tip = document.getElementById("tip").hidden ? "" : tip.textContent;
              const values = [...document.querySelectorAll(".key")]
                .map((key) => key.querySelector("b").textContent);
              document.body.dataset.now = document.getElementById("now").textContent;
              document.body.dataset.values = JSON.stringify(values);
            }, 200);
            </script></body>"""
        # this one test acts on the page from within, which the page's policy rightly forbids
        text = re.sub(r"<meta http-equiv[^>]*>", "", render(demo)).replace("</body>", hand)
        page.write_text(text, encoding="utf-8")
        found = re.search(r"<body[^>]*>", opened(page))
        assert found is not None
        body = html.unescape(found[0])
        assert 'data-active="true"' in body
        assert "67.0 s, search.low rate-limit: no limit → 180 requests/s. GOV101" in body
        assert 'data-now="at 67 s"' in body
        values = json.loads(re.search(r'data-values="(\[.*?\])"', body)[1])  # type: ignore[index]
        governed = demo.governed
        assert values[0] == f"{governed.goodput[67]:.0f}/s"
        assert len(values) == 4 + len(governed.goodput_by_class) + len(demo.panels)
        assert all(values), "a synced cursor shows a value in every chart"

    def test_hostile_text_does_not_run(self, demo: ReportData, tmp_path: Path) -> None:
        write_report(tmp_path / "report.html", evil(demo))
        dom = opened(tmp_path / "report.html")
        assert 'data-ready="true"' in dom
        assert "data-errors" not in dom
        assert "<img" not in dom

    def test_a_foreign_script_is_refused_and_seen(self, demo: ReportData, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        foreign = "<script>document.title = 'taken'</script></body>"
        page.write_text(render(demo).replace("</body>", foreign), encoding="utf-8")
        dom = opened(page)
        assert "<title>taken" not in dom
        assert re.search(r'data-errors="policy: script-src', dom)

    def test_a_run_without_faults_or_decisions_is_a_page_too(self, small: Scenario, tmp_path: Path) -> None:
        rows = [(0.1, 0, Outcome.OK, 0.1), (1.2, 1, Outcome.TIMEOUT, 1.0)]
        data = build.report_data(small, result_of(rows), result_of(rows), (), EPOCH)
        write_report(tmp_path / "report.html", data)
        dom = opened(tmp_path / "report.html")
        assert 'data-ready="true"' in dom
        assert "data-errors" not in dom
        assert "Nothing was changed." in dom

    def test_a_picture_has_the_asked_size(self, demo: ReportData, tmp_path: Path) -> None:
        write_report(tmp_path / "report.html", demo)
        picture.screenshot(tmp_path / "report.html", tmp_path / "report.png", 800, 600)
        head = (tmp_path / "report.png").read_bytes()[:24]
        assert struct.unpack(">II", head[16:24]) == (800, 600)
        assert (tmp_path / "report.png").stat().st_size > 20_000
