"""Retries, timeouts and circuit breaking as Linkerd's annotations, on the routes of a service or the Service.

A route with any annotation of a family (retry, timeout) hides all of that family on the Service, so a value goes
to every object whose annotations count for the edge. Linkerd reads a limit of 0 as none given: retries are off
only where no condition is given, and the condition that was there waits in an annotation of the governor's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, Change, Edit, edited
from governor.adapters.kubernetes_objects import Body, Found, Snapshot, annotations_of
from governor.adapters.meshes.durations import milliseconds
from governor.adapters.meshes.linkerd_objects import routes, service
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_linkerd import (
    ACCRUAL,
    MAX_FAILURES,
    MAX_RETRIES,
    RETRY_GRPC,
    RETRY_HTTP,
    RETRY_LIMIT,
    RETRY_TIMEOUT,
    TIMEOUT_REQUEST,
    seconds_of,
)
from governor.knobs import OutlierDetection, Timeout

WAITING = {
    RETRY_HTTP: "mesh-governor.github.io/waiting-retry-http",
    RETRY_GRPC: "mesh-governor.github.io/waiting-retry-grpc",
}
"""Where a condition for retries is kept while they are off."""
_CONSECUTIVE = "consecutive"
_DEFAULT_FAILURES = 7

Says = Callable[[Body], bool]
Value = TypeVar("Value")


def attempts_in(snapshot: Snapshot, place: Place) -> int | None:
    """Retries that the annotations give, None if they name no number."""
    return _same(_retrying(snapshot, place), _attempts)


def attempts_changes(snapshot: Snapshot, place: Place, attempts: int | None) -> list[Change]:
    """The retries of every object that says when to retry; which answers those are stays its owner's to say."""
    found = _retrying(snapshot, place)
    if attempts and not found:
        raise Inexpressible(
            f"{service(snapshot, place)[0]} and its routes do not say which answers may be retried: "
            f"annotate one with {RETRY_HTTP} or {RETRY_GRPC}"
        )
    if attempts is not None and attempts > MAX_RETRIES:
        raise Inexpressible(f"Linkerd retries at most {MAX_RETRIES} times")
    _agreed(found, _attempts, RETRY_LIMIT)
    changes = [Change(ref, tuple(_retry_edits(body, attempts))) for ref, body in found]
    return _still_hiding(snapshot, place, changes, _hides_retries)


def timeout_in(snapshot: Snapshot, place: Place) -> Timeout | None:
    """Timeouts of the request and of a try, None if neither is given."""
    request = _same(_timing(snapshot, place), _request_s)
    each = _same(_retrying(snapshot, place), _try_s)
    return None if request is None and each is None else Timeout(request, each)


def timeout_changes(snapshot: Snapshot, place: Place, value: Timeout) -> list[Change]:
    """The timeout of the request, and of each try where requests are tried again."""
    timing, retrying = _timing(snapshot, place), _retrying(snapshot, place)
    if value.per_try_s is not None and not retrying:
        raise Inexpressible(
            f"a try has a timeout of its own only where there are retries, and {service(snapshot, place)[0]} "
            f"has no {RETRY_HTTP}"
        )
    _agreed(timing, _request_s, TIMEOUT_REQUEST)
    _agreed(retrying, _try_s, RETRY_TIMEOUT)
    edits = {ref: [_annotation(TIMEOUT_REQUEST, _spelled(value.request_s))] for ref, _ in timing}
    for ref, _ in retrying:
        edits.setdefault(ref, []).append(_annotation(RETRY_TIMEOUT, _spelled(value.per_try_s)))
    changes = [Change(ref, tuple(leaves)) for ref, leaves in edits.items()]
    return _still_hiding(snapshot, place, changes, _says_timeout)


def outlier_in(snapshot: Snapshot, place: Place) -> OutlierDetection | None:
    """Failures in a row that take an endpoint out; None if circuit breaking is off or goes by another measure."""
    annotations = annotations_of(service(snapshot, place)[1])
    if annotations.get(ACCRUAL) != _CONSECUTIVE:
        return None
    return OutlierDetection(None, _number(annotations.get(MAX_FAILURES)) or _DEFAULT_FAILURES)


def outlier_changes(snapshot: Snapshot, place: Place, value: OutlierDetection) -> list[Change]:
    """Circuit breaking by failures in a row, for each proxy and endpoint by itself; 0 and None turn it off."""
    if value.max_ejection is not None:
        raise Inexpressible("Linkerd knows no largest share of endpoints that may be taken out")
    ref, body = service(snapshot, place)
    mode = annotations_of(body).get(ACCRUAL, _CONSECUTIVE)
    if mode != _CONSECUTIVE:
        raise Inexpressible(f"{ref} has {ACCRUAL}: {mode}, which does not go by failures in a row")
    number = value.consecutive_5xx or None
    leaves = (
        _annotation(ACCRUAL, None if number is None else _CONSECUTIVE),
        _annotation(MAX_FAILURES, None if number is None else str(number)),
    )
    return [Change(ref, leaves)]


def _counting(snapshot: Snapshot, place: Place, says: Says) -> list[Found]:
    """All objects whose annotations of a family hold for some request of this edge."""
    attached = routes(snapshot, place)
    speaking = [found for found in attached if says(found[1])]
    return speaking if attached and len(speaking) == len(attached) else [*speaking, service(snapshot, place)]


def _timing(snapshot: Snapshot, place: Place) -> list[Found]:
    return _counting(snapshot, place, _says_timeout)


def _retrying(snapshot: Snapshot, place: Place) -> list[Found]:
    """Of these, those that retry, or did before the governor turned it off."""
    conditions = {*WAITING, *WAITING.values()}
    return [
        (ref, body)
        for ref, body in _counting(snapshot, place, _says_retry)
        if conditions & annotations_of(body).keys()
    ]


def _says_retry(body: Body) -> bool:
    return _hides_retries(body) or _waits(body)


def _hides_retries(body: Body) -> bool:
    return any(name.startswith("retry.linkerd.io/") for name in annotations_of(body))


def _says_timeout(body: Body) -> bool:
    in_rules = any(rule.get("timeouts") for rule in body.get("spec", {}).get("rules") or ())
    return in_rules or any(name.startswith("timeout.linkerd.io/") for name in annotations_of(body))


def _waits(body: Body) -> bool:
    return bool(set(WAITING.values()) & annotations_of(body).keys())


def _attempts(body: Body) -> int | None:
    return 0 if _waits(body) else _number(annotations_of(body).get(RETRY_LIMIT)) or None


def _try_s(body: Body) -> float | None:
    return seconds_of(annotations_of(body).get(RETRY_TIMEOUT, ""))


def _request_s(body: Body) -> float | None:
    annotations = annotations_of(body)
    if TIMEOUT_REQUEST in annotations:
        return seconds_of(annotations[TIMEOUT_REQUEST])
    rules = body.get("spec", {}).get("rules") or ()
    given = {(rule.get("timeouts") or {}).get("request") for rule in rules}
    return seconds_of(given.pop() or "") if len(given) == 1 else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _same(found: Sequence[Found], of: Callable[[Body], Value | None]) -> Value | None:
    values = {of(body) for _, body in found}
    return values.pop() if len(values) == 1 else None


def _agreed(found: Sequence[Found], of: Callable[[Body], Value], name: str) -> None:
    first = found[0] if found else None
    for ref, body in found[1:]:
        if first is not None and of(body) != of(first[1]):
            raise Inexpressible(
                f"{first[0]} and {ref} differ in {name}, and both hold for some requests of this edge"
            )


def _retry_edits(body: Body, attempts: int | None) -> list[Edit]:
    annotations = annotations_of(body)
    edits = [_annotation(RETRY_LIMIT, str(attempts) if attempts else None)]
    for name, waiting in WAITING.items():
        condition = annotations.get(name) or annotations.get(waiting)
        off = attempts == 0
        edits += [_annotation(name, None if off else condition), _annotation(waiting, condition if off else None)]
    return edits


def _still_hiding(snapshot: Snapshot, place: Place, changes: list[Change], says: Says) -> list[Change]:
    """Refuse to take a route's last annotation of a family where the Service's would come into force instead."""
    attached = dict(routes(snapshot, place))
    for change in changes:
        body = attached.get(change.ref)
        if body is None or not says(body) or says(edited(body, change.edits)):
            continue
        ref, behind = service(snapshot, place)
        if says(behind) and ref not in {other.ref for other in changes}:
            raise Inexpressible(f"without these annotations on {change.ref} those of {ref} would come into force")
    return changes


def _annotation(name: str, value: str | None) -> Edit:
    return Edit(("metadata", "annotations", name), ABSENT if value is None else value)


def _spelled(value_s: float | None) -> str | None:
    return None if value_s is None else milliseconds(value_s)
