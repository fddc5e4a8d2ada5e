"""One knob's value in words, with its unit."""

from __future__ import annotations

from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    Hypothesis,
    InFlightCap,
    KnobValue,
    OutlierDetection,
    Proposal,
    RateLimit,
    RetryPolicy,
    Timeout,
)

UNSET = "not set"


def number(value: float | None) -> str:
    """Three significant digits, thousands kept whole."""
    if value is None:
        return UNSET
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share 0..1 in per cent."""
    return UNSET if share is None else f"{share * 100:.3g} %"


def seconds(value: float | None) -> str:
    """Seconds, or milliseconds below one."""
    if value is None:
        return UNSET
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def in_words(value: KnobValue) -> str:  # noqa: PLR0911 - one case for each knob
    """The whole value: `120 requests/s`, `default 40, high 80`."""
    match value:
        case RateLimit(requests_per_second=rate):
            return "no limit" if rate is None else f"{number(rate)} requests/s"
        case InFlightCap(default=default, high=high):
            return f"default {number(default)}, high {number(high)}"
        case BackendWeights(shares=shares):
            return ", ".join(f"{name} {percent(share)}" for name, share in shares) or UNSET
        case RetryPolicy(attempts=attempts, budget=budget):
            return f"{number(attempts)} retries, budget {percent(budget)}"
        case Timeout(request_s=request, per_try_s=per_try):
            return f"{seconds(request)}, per try {seconds(per_try)}"
        case OutlierDetection(max_ejection=share, consecutive_5xx=failures):
            return f"eject at most {percent(share)}, after {number(failures)} failures"
        case ConnectionLimits(max_connections=connections, max_pending_requests=pending):
            return f"{number(connections)} connections, {number(pending)} waiting"


_EFFECTS = {
    "success_rate": ("success", "at least", percent),
    "goodput": ("good answers/s", "at least", number),
    "attempts_ratio": ("attempts per answer", "at most", number),
}


def effect(metric: str, value: float, *, bare: bool = False) -> str:
    """A metric of a hypothesis with its value: `success at least 99.5 %`, `success 93 %` if bare."""
    name, side, unit = _EFFECTS.get(metric, (metric, "", number))
    return " ".join(part for part in (name, "" if bare else side, unit(value)) if part)


def expected(hypothesis: Hypothesis) -> str:
    """What must be seen for a change to stay: `success at least 99.5 % within 30 s`."""
    return f"{effect(hypothesis.metric, hypothesis.bound)} within {seconds(hypothesis.window_s)}"


def said(proposal: Proposal) -> str:
    """The law's sentence, with the value within bounds and steps where that is another than the law's."""
    if proposal.proposed == proposal.uncapped:
        return proposal.summary
    change = f"{in_words(proposal.current)} -> {in_words(proposal.proposed)}"
    return f"{proposal.summary}; within bounds and steps: {change}"
