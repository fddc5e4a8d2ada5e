"""What detection and prediction found, as people and programs read it."""

from __future__ import annotations

import json
import math

from rich.console import Console

from governor.evidence import Anomaly, Cause
from governor.explain.findings import ExpectedLoad, Findings, as_data, causes_in_words, load_in_words
from governor.explain.report import Advice, table, to_html, to_json

SLOW = Anomaly("edge", "a|<b>", "latency_p99", "value", 0.5, 0.2, 1_700_000_000.0, 1e-4)
GONE = Anomaly("service", "b", "rate", "trend", math.nan, 10.0, 1_700_000_000.0, 1e-3)
CAUSES = (
    Cause("web", "latency", "db", 0.8),
    Cause("web", "latency", "web", 0.1),
    Cause("pay", "errors", "pay", 1.0),
)
LOAD = ExpectedLoad("web", 100.0, 15.0, 90.0, 120.0, math.inf, "served by the model")
FOUND = Findings((SLOW, GONE), CAUSES, (LOAD,))


def printed(findings: Findings) -> str:
    console = Console(width=160, record=True, file=None, force_terminal=False)
    with console.capture() as caught:
        console.print(table(Advice(0.0, 15.0, (), (), findings=findings)))
    return caught.get()


def test_a_symptom_is_one_sentence_with_all_that_explains_it() -> None:
    assert list(causes_in_words(CAUSES)) == [
        "web has abnormal latency: db explains 80%, web explains 10%.",
        "pay has abnormal errors: pay explains 100%.",
    ]


def test_the_table_says_which_signal_by_how_much_and_since_when() -> None:
    text = printed(FOUND)
    assert "edge latency_p99" in text
    assert "0.5, above 0.2" in text
    assert "2023-11-14T22:13:20+00:00" in text
    assert "db explains 80%" in text
    assert "120 (90 to inf) in 15 min, served by the model" in text


def test_where_nothing_was_found_nothing_is_said() -> None:
    assert "abnormal" not in printed(Findings())
    assert "abnormal" not in to_html(Advice(0.0, 15.0, (), ()))


def test_a_page_escapes_names() -> None:
    page = to_html(Advice(0.0, 15.0, (), (), findings=FOUND))
    assert "a|&lt;b&gt;" in page
    assert "<b>" not in page


def test_json_holds_no_number_that_json_has_not() -> None:
    body = json.loads(to_json(Advice(0.0, 15.0, (), (), findings=FOUND)))
    assert body["anomalies"][1]["value"] is None
    assert body["anomalies"][0]["bound"] == 0.2
    assert body["forecast"][0]["high"] is None
    assert [c["service"] for c in body["causes"]] == ["db", "web", "pay"]


def test_many_anomalies_are_counted_and_the_rarest_named() -> None:
    data = as_data(Findings((SLOW,) * 250))
    assert (len(data["anomalies"]), data["anomalies_in_all"]) == (100, 250)


def test_a_forecast_is_one_line() -> None:
    assert load_in_words(LOAD) == "web: 100 requests/s now, 120 (90 to inf) in 15 min, served by the model"
