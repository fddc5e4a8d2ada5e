"""One decision's entries as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from governor.explain.ledger import explanation, history
from governor.ports import Entry


def printed(what: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=160).print(what)
    return out.getvalue()


def entry(kind: str, body: Mapping[str, Any], code: str = "GOV102") -> Entry:
    return Entry("d1", 0.0, 3, kind, "edge/a", "in-flight-cap", code, "cut [it]", body)


def test_history_is_one_line_an_entry_or_says_that_there_is_none() -> None:
    text = printed(history([entry("receipt", {})]))
    assert "d1" in text
    assert "cut [it]" in text
    assert "holds nothing" in printed(history([]))


def test_values_and_what_must_be_seen_are_words() -> None:
    body = {
        "before": {"default": None, "high": None},
        "after": {"default": 40, "high": 80},
        "hypothesis": {"metric": "success_rate", "bound": 0.99, "window_s": 30.0},
        "evidence": {"capacity_rps": None},
    }
    text = printed(explanation([entry("intent", body)]))
    assert "before: default not set, high not set" in text
    assert "after: default 40, high 80" in text
    assert "hypothesis: success at least 99 % within 30 s" in text
    assert 'evidence: {"capacity_rps": null}' in text


def test_what_is_not_understood_is_shown_as_it_is() -> None:
    text = printed(explanation([entry("receipt", {"before": {"depth": 2}, "hypothesis": {"x": 1}})]))
    assert 'before: {"depth": 2}' in text
    assert 'hypothesis: {"x": 1}' in text


@pytest.mark.parametrize(
    ("code", "metric", "measured", "words"),
    [
        ("GOV302", "success_rate", 0.931, "seen: success 93.1 %; it had to be success at least 99 %"),
        (
            "GOV302",
            "attempts_ratio",
            1.5,
            "seen: attempts per answer 1.5; it had to be attempts",
        ),
        (
            "GOV301",
            "goodput",
            None,
            "seen: all that was asked for was answered well, however little",
        ),
        ("GOV303", "goodput", None, "seen: it could not be measured; it had to be good answers/s at least 0.99"),
    ],
)
def test_what_was_seen_is_words_also_where_there_is_no_number(
    code: str, metric: str, measured: float | None, words: str
) -> None:
    promised = {"hypothesis": {"metric": metric, "bound": 0.99, "window_s": 30.0}}
    found = [entry("intent", promised), entry("verdict", {"measured": measured, "bound": 0.99}, code)]
    text = printed(explanation(found))
    assert words in text
    assert "null" not in text
