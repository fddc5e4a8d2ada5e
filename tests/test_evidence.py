"""Anomalies as columns: in order of rarity over all tables, counted without being built."""

from __future__ import annotations

import numpy as np
import pytest

from governor.evidence import AbnormalSeries, Anomalies


def series(table: str, *found: tuple[int, int, float]) -> AbnormalSeries:
    """Row, signal and p of each."""
    columns = np.array(found, float).reshape(-1, 3)
    ones = np.ones(len(columns))
    return AbnormalSeries(
        table=table,
        rows=("a", "b"),
        signals=("rate", "latency"),
        views=("value", "trend"),
        row=columns[:, 0].astype(np.intp),
        signal=columns[:, 1].astype(np.intp),
        view=np.ones(len(columns), np.intp),
        value=3.0 * ones,
        bound=ones,
        since=7.0 * ones,
        p=columns[:, 2],
    )


FOUND = Anomalies([series("service", (0, 0, 0.04), (1, 1, 0.001)), series("none"), series("edge", (1, 0, 0.01))])


def test_the_rarest_comes_first_whatever_its_table() -> None:
    assert [(one.table, one.subject, one.signal, one.p) for one in FOUND] == [
        ("service", "b", "latency", 0.001),
        ("edge", "b", "rate", 0.01),
        ("service", "a", "rate", 0.04),
    ]
    assert [one.p for one in FOUND[1:]] == [0.01, 0.04]
    assert FOUND[-1].p == 0.04


def test_one_says_what_by_how_much_and_since_when() -> None:
    one = FOUND[0]
    assert (one.view, one.value, one.bound, one.excess, one.since) == ("trend", 3.0, 1.0, 2.0, 7.0)


def test_they_are_counted_by_signal() -> None:
    assert dict(FOUND.counts()) == {"rate": 2, "latency": 1}


def test_nothing_abnormal_is_empty() -> None:
    assert not Anomalies()
    assert dict(Anomalies().counts()) == {}
    with pytest.raises(IndexError):
        Anomalies()[0]
