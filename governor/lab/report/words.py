"""The report's words, scores and table, as HTML; every text from outside is escaped here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from governor.explain.values import number, percent, seconds
from governor.lab.report.data import Arm, Decision, Finding, ReportData, Score

FROM_ON = "From the first fault to the end of the run"


def headline(data: ReportData) -> str:
    """All faults in one sentence."""
    if not data.findings:
        return "Nothing went wrong in this run."
    governed, ungoverned = (
        percent_or_unknown(overall_share(data, arm)) for arm in (data.governed, data.ungoverned)
    )
    return (
        f"{FROM_ON}, the governed mesh gave {governed} of the best possible answers in time; "
        f"ungoverned, it gave {ungoverned}."
    )


def overall_share(data: ReportData, arm: Arm) -> float:
    """Share of the optimum from the first fault's start to the end of the run, 0..1; NaN if that is nothing.

    What comes after a fault counts, too: a retry storm goes on when its trigger is long over.
    """
    start = int(min((fault.start_s for fault in data.faults), default=0.0))
    pairs = [
        (got, best)
        for got, best in zip(arm.goodput[start:], data.optimum[start:], strict=True)
        if got is not None and best is not None
    ]
    best = sum(best for _, best in pairs)
    return sum(got for got, _ in pairs) / best if best > 0 else math.nan


def sentence(finding: Finding) -> str:
    """One fault in one sentence, both arms' shares in it."""
    governed, ungoverned = (
        percent_or_unknown(finding.governed.share),
        percent_or_unknown(finding.ungoverned.share),
    )
    return (
        f"{finding.fault.label}, {_window(finding)}: governed {governed} of the best possible, "
        f"ungoverned {ungoverned}"
    )


def finding_items(data: ReportData) -> str:
    """The faults as list items, each with both arms' bars."""
    return "".join(_finding(finding) for finding in data.findings)


def _finding(finding: Finding) -> str:
    bars = "".join(
        _bar(name, score) for name, score in (("governed", finding.governed), ("ungoverned", finding.ungoverned))
    )
    return (
        f'<li><div class="fault"><b>{escape(finding.fault.label)}</b>'
        f"<span>{_window(finding)}</span></div>\n"
        f'<div class="bars" role="img" aria-label="{escape(sentence(finding))}">{bars}</div></li>\n'
    )


def _bar(name: str, score: Score) -> str:
    width = 0.0 if math.isnan(score.share) else 100 * min(max(score.share, 0.0), 1.0)
    return (
        f'<div class="bar {name}"><span class="who">{name}</span>'
        f'<span class="share">{percent_or_unknown(score.share)}</span>'
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="8"/><rect class="fill" width="{width:.1f}" height="8"/></svg>'
        f'<span class="after">{escape(_recovery(score))}</span></div>'
    )


def _recovery(score: Score) -> str:
    rate = f"{score.goodput_rps:.0f} good answers/s"
    if math.isnan(score.recovery_s):
        return rate
    after = f"{percent_or_unknown(score.share_after)} afterwards"
    if math.isinf(score.recovery_s):
        return f"{rate}; {after}, did not recover"
    if score.recovery_s == 0:
        return f"{rate}; {after}, recovered at once"
    return f"{rate}; {after}, recovered after {score.recovery_s:.0f} s"


def tally(decisions: Sequence[Decision]) -> str:
    """How many changes there were, and what became of them."""
    if not decisions:
        return "The governor changed nothing."
    counts = Counter[str](d.outcome for d in decisions)
    words = {
        "kept": "kept, their effect was as expected",
        "undone": "undone",
        "replaced": "replaced by a later change before they were judged",
        "rejected": "rejected by the data plane",
        "open": "not judged yet when the run ended",
    }
    parts = [f"{counts[name]} {text}" for name, text in words.items() if counts[name]]
    total = "1 change" if len(decisions) == 1 else f"{len(decisions)} changes"
    return f"{total}: {'; '.join(parts)}. Times are seconds from the start of the run."


def decision_rows(decisions: Sequence[Decision]) -> str:
    """All decisions as a table; empty if there are none."""
    if not decisions:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Time", "What", "Before → after", "Why", "What became of it")
    )
    body = "".join(_row(index, decision) for index, decision in enumerate(decisions))
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n"


def _row(index: int, d: Decision) -> str:
    evidence = "".join(f"<li>{escape(item)}</li>" for item in evidence_in_words(d.evidence))
    evidence = f'<ul class="evidence">{evidence}</ul>' if evidence else ""
    uncapped = ""
    if d.uncapped not in {"", d.after}:
        uncapped = f"<br><small>without bounds and steps: {escape(d.uncapped)}</small>"
    code = f" <code>{escape(d.verdict_code)}</code>" if d.verdict_code else ""
    return (
        f'<tr id="d{index}" tabindex="-1"><td class="num">{d.at_s:.1f} s</td>'
        f"<td><b>{escape(d.target)}</b><br>{escape(d.knob)}<br><small>{escape(d.id)}</small></td>"
        f'<td><span class="before">{escape(d.before)}</span><br>'
        f'<span class="arrow">→</span> <span class="new">{escape(d.after)}</span>{uncapped}</td>'
        f"<td>{escape(d.summary)}<br>"
        f"<small><code>{escape(d.code)}</code> {escape(d.sentence)}</small>{evidence}</td>"
        f'<td><span class="outcome {d.outcome}">{d.outcome}</span> '
        f"<small>{escape(d.verdict)}{code}</small></td></tr>\n"
    )


def evidence_in_words(evidence: Mapping[str, float | None]) -> list[str]:
    """`offered_rps: 320` as `offered 320 requests/s`; what was unknown as `?`."""
    found = []
    for name, value in evidence.items():
        words = name.removesuffix("_rps").removesuffix("_s").replace("_", " ")
        if value is None:
            text = "?"
        elif name.endswith("_rps"):
            text = f"{number(value)} requests/s"
        elif name.endswith("_s"):
            text = seconds(value)
        else:
            text = percent(value) if name.endswith(("share", "utilisation")) else number(value)
        found.append(f"{words} {text}")
    return found


def percent_or_unknown(share: float) -> str:
    """A share 0..1 as a whole number of percent; `?` for NaN."""
    return "?" if math.isnan(share) else f"{100 * share:.0f} %"


def _window(finding: Finding) -> str:
    return f"{finding.fault.start_s:g}–{finding.fault.end_s:g} s"


def anomaly_items(data: ReportData) -> str:
    """Every abnormal signal in a list, for those who cannot see the marks; a sentence if there is none."""
    if not data.anomalies:
        return "<p>No signal was called abnormal; a series is judged once it has some history.</p>"
    items = "".join(
        f"<li>{escape(a.subject)}: {escape(a.signal)}, {a.start_s:.0f} to {a.end_s:.0f} s</li>\n"
        for a in data.anomalies
    )
    return f"<details><summary>Abnormal signals: {len(data.anomalies)}</summary><ul>\n{items}</ul></details>"
