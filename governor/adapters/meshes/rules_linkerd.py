"""Rules of Linkerd that no schema holds: how annotations are spelled, and limits within limits.

Linkerd's webhook judges annotations of routes but not of Services, where a bad one only shows in a log and takes
all of its family with it. Source: linkerd2, `policy-controller` (outbound index, admission), reference pages on
retries, timeouts, circuit breaking and rate limiting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from governor.adapters.kubernetes_objects import Body, Kind, annotations_of

RETRY_HTTP: Final = "retry.linkerd.io/http"
RETRY_GRPC: Final = "retry.linkerd.io/grpc"
RETRY_LIMIT: Final = "retry.linkerd.io/limit"
RETRY_TIMEOUT: Final = "retry.linkerd.io/timeout"
TIMEOUT_REQUEST: Final = "timeout.linkerd.io/request"
TIMEOUT_RESPONSE: Final = "timeout.linkerd.io/response"
TIMEOUT_IDLE: Final = "timeout.linkerd.io/idle"
ACCRUAL: Final = "balancer.linkerd.io/failure-accrual"
MAX_FAILURES: Final = "balancer.linkerd.io/failure-accrual-consecutive-max-failures"
MAX_RETRIES: Final = 2**16 - 1
MOST_FAILURES: Final = 2**32 - 1

_DURATION = re.compile(r"0|([0-9]+)(ms|s|m|h|d)")
_UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_STATUS = re.compile(r"5xx|gateway-error|[1-5][0-9]{2}(-[1-5][0-9]{2})?")
_GRPC = frozenset({"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"})


def seconds_of(text: str) -> float | None:
    """Seconds of a duration as Linkerd takes it, a whole number and a unit; None for 0 and for what is none."""
    match = _DURATION.fullmatch(text)
    if match is None or match[1] is None:
        return None
    return int(match[1]) * _UNIT_S[match[2]] or None


def _is_duration(text: str) -> bool:
    return _DURATION.fullmatch(text) is not None


def _is_statuses(text: str) -> bool:
    return all(_STATUS.fullmatch(part.strip()) for part in text.split(","))


def _is_codes(text: str) -> bool:
    return all(part.strip() in _GRPC for part in text.split(","))


def _up_to(most: int) -> Callable[[str], bool]:
    return lambda text: text.isascii() and text.isdigit() and int(text) <= most


_SPELLED: Mapping[str, tuple[Callable[[str], bool], str]] = {
    RETRY_HTTP: (_is_statuses, "status codes, ranges of them, 5xx or gateway-error"),
    RETRY_GRPC: (_is_codes, f"some of {', '.join(sorted(_GRPC))}"),
    RETRY_LIMIT: (_up_to(MAX_RETRIES), f"a whole number up to {MAX_RETRIES}"),
    RETRY_TIMEOUT: (_is_duration, "a whole number with ms, s, m, h or d"),
    TIMEOUT_REQUEST: (_is_duration, "a whole number with ms, s, m, h or d"),
    TIMEOUT_RESPONSE: (_is_duration, "a whole number with ms, s, m, h or d"),
    TIMEOUT_IDLE: (_is_duration, "a whole number with ms, s, m, h or d"),
    ACCRUAL: (frozenset({"consecutive", "unified"}).__contains__, "consecutive or unified"),
    MAX_FAILURES: (_up_to(MOST_FAILURES), f"a whole number up to {MOST_FAILURES}"),
}


def violations(kind: Kind, body: Body) -> list[str]:
    """What Linkerd would not take of a Service, a route or an HTTPLocalRateLimitPolicy, in words."""
    if kind.kind == "HTTPLocalRateLimitPolicy":
        return _of_limits(body.get("spec", {}))
    annotations = annotations_of(body)
    return [
        f"annotation {name} is {annotations[name]!r}, not {wanted}"
        for name, (fits, wanted) in _SPELLED.items()
        if name in annotations and not fits(annotations[name])
    ]


def _of_limits(spec: Mapping[str, Any]) -> list[str]:
    total = spec.get("total", {}).get("requestsPerSecond")
    named = {"total": total, "identity": spec.get("identity", {}).get("requestsPerSecond")}
    for at, override in enumerate(spec.get("overrides") or ()):
        named[f"overrides[{at}]"] = override.get("requestsPerSecond")
    found = []
    for name, number in named.items():
        if number is not None and number < 1:
            found.append(f"spec.{name}.requestsPerSecond is {number}, not at least 1")
        if number is not None and total is not None and number > total:
            found.append(f"spec.{name}.requestsPerSecond is {number}, above spec.total.requestsPerSecond {total}")
    return found
