"""From ledger entries to knob lines over time and to readable decisions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from governor.explain.values import expected, in_words, number, percent
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Hypothesis,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
    value_from_json,
)
from governor.lab.report.data import Decision, KnobLine, KnobPanel
from governor.ports import Entry
from governor.reasons import Reason, reason_of

Unit = Literal["requests/s", "share", "requests", "retries", "s", "failures", "connections"]

UNDONE = frozenset({Reason.UNDONE_FAILED, Reason.UNDONE_UNMEASURED, Reason.UNDONE_BY_HAND, Reason.UNDONE_CRASH})
"""Verdicts after which the value from before the write is in force again."""

_EDGE = re.compile(r"\bout\|([\w.-]+)\|([\w.-]+)")

PANELS: tuple[tuple[str, Unit, str], ...] = (
    ("Rate limits", "requests/s", "no limit"),
    ("Weights of backends", "share", "not set"),
    ("In-flight caps", "requests", "no cap"),
    ("Retries after the first attempt", "retries", "not set"),
    ("Retry budgets", "share", "no budget"),
    ("Timeouts", "s", "not set"),
    ("Largest ejection", "share", "not set"),
    ("Failures in a row that eject", "failures", "not set"),
    ("Connection limits", "connections", "no limit"),
)
"""Title, unit and the meaning of a gap, in the order of the page."""


@dataclass(frozen=True)
class _Step:
    """One setting that changed: its value in force before and from `at_s` on."""

    at_s: float
    panel: str
    line: str
    before: float | None
    after: float | None


def panels(
    entries: Iterable[Entry], epoch: float, end_s: float, backend_names: Mapping[str, str]
) -> tuple[KnobPanel, ...]:
    """Charts of every setting that was written, from 0 to `end_s` of the run; `entries` in any order."""
    lines: dict[str, dict[str, list[tuple[float, float | None]]]] = {}
    for step in _steps(entries, epoch, backend_names):
        if step.at_s > end_s:
            continue
        points = lines.setdefault(step.panel, {}).setdefault(step.line, [(0.0, step.before)])
        if points[-1][1] != step.after:
            points.append((round(max(step.at_s, 0.0), 3), step.after))
    shown = []
    for title, unit, unset in PANELS:
        found = lines.get(title, {}).items()
        kept = tuple(
            KnobLine(name, tuple(points))
            for name, points in sorted(found)
            if any(value is not None for _, value in points)
        )
        if kept:
            shown.append(KnobPanel(title, unit, unset, kept))
    return tuple(shown)


def decisions(entries: Iterable[Entry], epoch: float, backend_names: Mapping[str, str]) -> tuple[Decision, ...]:
    """Every change made or tried, oldest first, with its verdict; `entries` in any order."""
    by_id: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if entry.kind in {"intent", "receipt", "verdict"}:
            by_id.setdefault(entry.id, {})[entry.kind] = entry
    made = [_decision(name, parts, epoch, backend_names) for name, parts in by_id.items()]
    return tuple(sorted((d for d in made if d), key=lambda d: (d.at_s, d.id)))


def _decision(
    name: str, parts: Mapping[str, Entry], epoch: float, backend_names: Mapping[str, str]
) -> Decision | None:
    verdict = parts.get("verdict")
    first = parts.get("intent") or parts.get("receipt") or verdict
    values = parts.get("receipt") or first
    if first is None or values is None or "before" not in values.body or "after" not in values.body:
        return None
    knob = Knob(first.knob)
    return Decision(
        at_s=round(first.at - epoch, 3),
        id=name,
        target=target_in_words(first.target),
        knob=first.knob,
        before=_words(knob, values.body["before"], backend_names),
        after=_words(knob, values.body["after"], backend_names),
        code=first.code,
        sentence=_sentence(first.code),
        summary=_named(first.summary, backend_names),
        verdict_code=verdict.code if verdict else "",
        verdict=_outcome(verdict, first.body.get("hypothesis")),
        uncapped=_words(knob, first.body.get("uncapped", values.body["after"]), backend_names),
        evidence=dict(first.body.get("evidence", {})),
    )


def _outcome(verdict: Entry | None, hypothesis: Mapping[str, Any] | None) -> str:
    """What the verdict says, what was expected and what was measured."""
    wish = f"needed {expected(Hypothesis(**hypothesis))}" if hypothesis else ""
    if verdict is None:
        return f"the run ended before its effect was due{f': {wish}' if wish else ''}"
    words = _sentence(verdict.code)
    measured = verdict.body.get("measured")
    if measured is not None and hypothesis:
        seen = percent(measured) if hypothesis["metric"] == "success_rate" else number(measured)
        words += f": {wish}, measured {seen}"
    if "error" in verdict.body:
        words += f": {verdict.body['error']}"
    return words


def _steps(entries: Iterable[Entry], epoch: float, backend_names: Mapping[str, str]) -> list[_Step]:
    steps: list[_Step] = []
    receipts: dict[str, Entry] = {}
    # a cycle first settles what is due and then writes: its undoing comes before its receipts
    for entry in sorted(entries, key=lambda e: (e.at, e.cycle, e.kind == "receipt")):
        at_s = entry.at - epoch
        if entry.kind == "receipt":
            receipts[entry.id] = entry
            steps += _between(entry, at_s, entry.body["before"], entry.body["after"], backend_names)
        elif entry.kind == "verdict" and entry.code in {reason.code for reason in UNDONE}:
            receipt = receipts.get(entry.id)
            if receipt is not None:
                steps += _between(receipt, at_s, receipt.body["after"], receipt.body["before"], backend_names)
        elif entry.kind == "verdict" and entry.code == Reason.RESTORED_BLIND.code:
            steps += _between(entry, at_s, entry.body["before"], entry.body["after"], backend_names)
    return steps


def _between(
    entry: Entry, at_s: float, before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[str, str]
) -> list[_Step]:
    knob = Knob(entry.knob)
    target = target_in_words(entry.target)
    old = dict(_settings(target, value_from_json(knob, before), names))
    new = dict(_settings(target, value_from_json(knob, after), names))
    return [_Step(at_s, panel, line, old.get((panel, line)), value) for (panel, line), value in new.items()]


def _settings(  # noqa: PLR0911 - one case for each knob
    target: str, value: KnobValue, names: Mapping[str, str]
) -> Sequence[tuple[tuple[str, str], float | None]]:
    """The numbers in one value, each with its panel and line."""
    match value:
        case RateLimit(requests_per_second=rate):
            return [(("Rate limits", target), rate)]
        case InFlightCap(default=default, high=high):
            kinds = (("default", default), ("high", high))
            return [(("In-flight caps", f"{target}, {name}"), cap) for name, cap in kinds]
        case BackendWeights(shares=shares):
            return [
                (("Weights of backends", f"{target}: {names.get(name, name)}"), share) for name, share in shares
            ]
        case RetryPolicy(attempts=attempts, budget=budget):
            return [
                (("Retries after the first attempt", target), attempts),
                (("Retry budgets", target), budget),
            ]
        case Timeout(request_s=request, per_try_s=per_try):
            return [(("Timeouts", target), request), (("Timeouts", f"{target}, per try"), per_try)]
        case OutlierDetection(max_ejection=share, consecutive_5xx=failures):
            return [(("Largest ejection", target), share), (("Failures in a row that eject", target), failures)]
        case ConnectionLimits(max_connections=connections, max_pending_requests=pending):
            return [
                (("Connection limits", target), connections),
                (("Connection limits", f"{target}, waiting"), pending),
            ]


def target_in_words(target: str) -> str:
    """`edge/out|web|db` as `web → db`, `api/shop.low` as `shop.low`."""
    return _EDGE.sub(r"\1 → \2", target.split("/", 1)[-1])


def _words(knob: Knob, data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return _named(in_words(value_from_json(knob, data)), names)


def _named(text: str, names: Mapping[str, str]) -> str:
    # longest first: 127.0.0.1:80 is a prefix of 127.0.0.1:8080
    for address in sorted(names, key=len, reverse=True):
        text = text.replace(address, names[address])
    return _EDGE.sub(r"\1 → \2", text).replace(" -> ", " → ")


def _sentence(code: str) -> str:
    try:
        return reason_of(code).sentence
    except KeyError:
        return "a reason that this version does not know"
