"""One knob's value as edits of the discovery files; all else in them stays as the operator has it. Pure."""

from __future__ import annotations

from governor.adapters.envoy_files_change import Edit, number, whole
from governor.adapters.envoy_files_pools import limit_edits, weight_edits
from governor.adapters.envoy_files_routes import attempts_edits, timeout_edits
from governor.adapters.envoy_files_runtime import breaker_edits, budget_edits
from governor.adapters.envoy_files_values import PRIORITIES, Catalogue
from governor.adapters.inexpressible import Inexpressible
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Target,
    TargetKind,
    Timeout,
)


def value_of(files: Catalogue, target: Target, knob: Knob) -> KnobValue:  # noqa: PLR0911 - one line a knob
    """What the files say now."""
    name = target.name
    match knob:
        case Knob.RATE_LIMIT:
            return RateLimit(number(files.limit(name)))
        case Knob.IN_FLIGHT_CAP:
            default, high = (files.breaker(name, p, "max_requests") for p in PRIORITIES)
            return InFlightCap(whole(default), whole(high))
        case Knob.WEIGHTS:
            return BackendWeights(tuple(files.shares(name).items()))
        case Knob.RETRIES:
            return RetryPolicy(whole(files.attempts(name)), number(files.retry_budget(name)))
        case Knob.TIMEOUT:
            return Timeout(*(number(v) for v in files.timeouts(name)))
        case Knob.OUTLIER_DETECTION:
            share, row = files.outlier(name)
            return OutlierDetection(number(share), whole(row))
        case Knob.CONNECTION_LIMITS:
            keys = ("max_connections", "max_pending_requests")
            connections, pending = (files.breaker(name, "default", key) for key in keys)
            return ConnectionLimits(whole(connections), whole(pending))


def edits_for(files: Catalogue, target: Target, value: KnobValue) -> list[Edit]:
    """Edits that set `value`, none where it is set already; Inexpressible if these files cannot say it."""
    _require_target(files, target, value)
    edge = target.name
    match value:
        case RateLimit():
            return list(limit_edits(files, edge, value))
        case InFlightCap():
            caps = {(p, "max_requests"): v for p, v in zip(PRIORITIES, (value.default, value.high), strict=True)}
            return list(breaker_edits(files, edge, caps))
        case BackendWeights():
            return list(weight_edits(files, edge, value))
        case RetryPolicy():
            return [*attempts_edits(files, edge, value.attempts), *budget_edits(files, edge, value.budget)]
        case Timeout():
            return list(timeout_edits(files, edge, value))
        case ConnectionLimits():
            pools = {
                ("default", "max_connections"): value.max_connections,
                ("default", "max_pending_requests"): value.max_pending_requests,
            }
            return list(breaker_edits(files, edge, pools))
        case OutlierDetection():
            raise Inexpressible(
                "outlier detection stands in cds.json: a CDS update rebuilds the cluster, drops its connections "
                "and forgets its ejections, so the governor does not write it; set it by hand"
            )


def _require_target(files: Catalogue, target: Target, value: KnobValue) -> None:
    wanted = TargetKind.API if isinstance(value, RateLimit) else TargetKind.EDGE
    if target.kind is not wanted:
        raise Inexpressible(f"{type(value).__name__} sits on an {wanted.value}, {target} is none")
    if wanted is TargetKind.EDGE and not files.has_edge(target.name):
        raise Inexpressible(f"no file knows a cluster named {target.name}: is this the Envoy that calls it?")
