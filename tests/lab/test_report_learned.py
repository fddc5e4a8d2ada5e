"""From the ledger's cycles to marks of what was abnormal and bands of what was expected."""

from __future__ import annotations

from typing import Any

from governor.lab.report.data import AnomalySpan, LoadForecast
from governor.lab.report.learned_lines import anomaly_spans, load_forecasts
from governor.ports import Entry

EPOCH = 1_000.0


def cycle(at_s: float, **body: Any) -> Entry:
    return Entry(f"c{at_s}", EPOCH + at_s, 1, "cycle", "", "", "", "", body)


def slow(subject: str, since_s: float, table: str = "service") -> dict[str, Any]:
    return {"table": table, "subject": subject, "signal": "error_share", "since": EPOCH + since_s}


def load(in_min: float, now: float, middle: float) -> dict[str, Any]:
    return {
        "service": "web",
        "in_min": in_min,
        "now": now,
        "low": middle - 1,
        "middle": middle,
        "high": middle + 1,
    }


def test_an_anomaly_lasts_from_its_beginning_to_the_last_cycle_that_named_it() -> None:
    edge = slow("out|web|db", 12.0, "edge")
    entries = [
        cycle(20, anomalies=[slow("web", 18.0), edge]),
        cycle(15, anomalies=[edge]),
        cycle(25, anomalies=[edge]),
        cycle(30),
        cycle(95, anomalies=[slow("web", 90.0)]),
    ]
    assert anomaly_spans(entries, EPOCH, 92.0) == (
        AnomalySpan(12.0, 25.0, "web → db", "error share"),
        AnomalySpan(18.0, 20.0, "web", "error share"),
        AnomalySpan(90.0, 92.0, "web", "error share"),
    )


def test_what_began_before_the_run_begins_with_it_and_what_came_after_is_left_out() -> None:
    assert anomaly_spans([cycle(5, anomalies=[slow("web", -3.0)])], EPOCH, 60.0)[0].start_s == 0.0
    assert not anomaly_spans([cycle(70, anomalies=[slow("web", 65.0)])], EPOCH, 60.0)


def test_a_band_stands_at_the_time_that_it_was_said_of() -> None:
    entries = [
        cycle(10, forecast=[load(1.0, 50.0, 60.0), load(5.0, 50.0, 99.0)]),
        cycle(5, forecast=[load(1.0, 40.0, 45.0)]),
        cycle(55, forecast=[load(1.0, 55.0, 1.0)]),
    ]
    assert load_forecasts(entries, EPOCH, 100.0) == (
        LoadForecast(
            "web",
            1.0,
            ((5.0, 40.0), (10.0, 50.0), (55.0, 55.0)),
            ((65.0, 44.0, 45.0, 46.0), (70.0, 59.0, 60.0, 61.0)),
        ),
    )


def test_a_ledger_of_an_earlier_governor_has_neither() -> None:
    assert anomaly_spans([cycle(5)], EPOCH, 60.0) == ()
    assert load_forecasts([cycle(5)], EPOCH, 60.0) == ()
