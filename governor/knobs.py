"""The knobs: what the governor may turn, in mesh-neutral terms.

Two forms of the same thing. `KnobState` holds the settings of a whole mesh as arrays, for the laws. The small
frozen values (`RateLimit`, `InFlightCap`, ...) hold one setting, for proposals, adapters and the ledger.
`None` in a value and NaN in an array mean: not set, the mesh's own default is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from governor.domain import FloatArray, MeshIndex
from governor.reasons import Reason


class TargetKind(StrEnum):
    """What a knob sits on."""

    API = "api"
    EDGE = "edge"


class Knob(StrEnum):
    """What can be turned; the value is the name in policies, tables and the ledger."""

    RATE_LIMIT = "rate-limit"
    IN_FLIGHT_CAP = "in-flight-cap"
    WEIGHTS = "weights"
    RETRIES = "retries"
    TIMEOUT = "timeout"
    OUTLIER_DETECTION = "outlier-detection"
    CONNECTION_LIMITS = "connection-limits"

    @property
    def sits_on(self) -> TargetKind:
        """Rate limits sit on APIs, all others on edges."""
        return TargetKind.API if self is Knob.RATE_LIMIT else TargetKind.EDGE


@dataclass(frozen=True, order=True)
class Target:
    """One API or one edge, by its name in the `MeshIndex`."""

    kind: TargetKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.name}"


@dataclass(frozen=True)
class RateLimit:
    """Requests per second let in for one API; None: no limit."""

    requests_per_second: float | None


@dataclass(frozen=True)
class InFlightCap:
    """Concurrent requests to the callee, one cap for each priority class; None: no cap."""

    default: int | None
    high: int | None


@dataclass(frozen=True)
class BackendWeights:
    """Share of an edge's traffic for each backend; the shares sum to 1."""

    shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class RetryPolicy:
    """Retries after the first attempt, and the budget as a share of active requests (0.2 = 20 %)."""

    attempts: int | None
    budget: float | None


@dataclass(frozen=True)
class Timeout:
    """Timeout of the whole request and of each try, in seconds; None: not set."""

    request_s: float | None
    per_try_s: float | None


@dataclass(frozen=True)
class OutlierDetection:
    """Largest share of a pool that may be ejected (0..1), and failures in a row that eject."""

    max_ejection: float | None
    consecutive_5xx: int | None


@dataclass(frozen=True)
class ConnectionLimits:
    """Connections to the callee, and requests waiting for one; None: not set."""

    max_connections: int | None
    max_pending_requests: int | None


KnobValue = RateLimit | InFlightCap | BackendWeights | RetryPolicy | Timeout | OutlierDetection | ConnectionLimits

VALUE_TYPES: Mapping[Knob, type[KnobValue]] = {
    Knob.RATE_LIMIT: RateLimit,
    Knob.IN_FLIGHT_CAP: InFlightCap,
    Knob.WEIGHTS: BackendWeights,
    Knob.RETRIES: RetryPolicy,
    Knob.TIMEOUT: Timeout,
    Knob.OUTLIER_DETECTION: OutlierDetection,
    Knob.CONNECTION_LIMITS: ConnectionLimits,
}


def value_to_json(value: KnobValue) -> dict[str, Any]:
    """A value as plain JSON data."""
    if isinstance(value, BackendWeights):
        return {"shares": dict(value.shares)}
    return asdict(value)


def value_from_json(knob: Knob, data: Mapping[str, Any]) -> KnobValue:
    """The inverse of `value_to_json`."""
    if knob is Knob.WEIGHTS:
        return BackendWeights(tuple((str(k), float(v)) for k, v in data["shares"].items()))
    return VALUE_TYPES[knob](**data)


class Direction(StrEnum):
    """What a change does to traffic: guards treat protecting and relaxing differently."""

    TIGHTEN = "tighten"
    LOOSEN = "loosen"
    SHIFT = "shift"


@dataclass(frozen=True)
class Hypothesis:
    """What must be seen after a write for it to stay: `metric` of `target` within `bound` after `window_s`.

    `metric` is one of `success_rate` (share of final answers that are no 5xx; bound is a minimum),
    `goodput` (successful answers/s; minimum), `attempts_ratio` (attempts per final answer; maximum).
    """

    metric: str
    bound: float
    window_s: float


@dataclass(frozen=True)
class Proposal:
    """One knob that should change, and why."""

    target: Target
    knob: Knob
    current: KnobValue
    proposed: KnobValue
    uncapped: KnobValue
    """What the law would set without bounds and steps."""
    direction: Direction
    reason: Reason
    summary: str
    """One sentence, subject first, both numbers."""
    evidence: Mapping[str, float]
    hypothesis: Hypothesis
    confidence: float
    """0..1: trust in the signals that the law used."""
    traffic: float
    """Requests/s that the change touches."""
    urgent: bool = False
    """Protects users now: may pass cool-down and pending verification (never pause, bounds or staleness)."""


@dataclass(frozen=True, eq=False)
class KnobState:
    """Settings in force, as arrays over a `MeshIndex`; NaN where nothing is set."""

    cap_default: FloatArray
    """(E,) requests in flight, route priority DEFAULT."""
    cap_high: FloatArray
    """(E,) requests in flight, route priority HIGH."""
    attempts: FloatArray
    """(E,) retries after the first attempt."""
    retry_budget: FloatArray
    """(E,) share 0..1."""
    timeout: FloatArray
    """(E,) seconds."""
    per_try_timeout: FloatArray
    """(E,) seconds."""
    max_ejection: FloatArray
    """(E,) share 0..1."""
    consecutive_5xx: FloatArray
    """(E,) failures in a row."""
    max_connections: FloatArray
    """(E,)."""
    max_pending: FloatArray
    """(E,)."""
    weight: FloatArray
    """(B,) share of the edge's traffic, 0..1."""
    limit: FloatArray
    """(A,) requests/s."""

    @classmethod
    def unset(cls, index: MeshIndex) -> KnobState:
        """Nothing set anywhere."""
        sizes = {"weight": len(index.backends), "limit": len(index.apis)}
        edges = len(index.edges)
        columns = {f.name: np.full(sizes.get(f.name, edges), np.nan, np.float32) for f in fields(cls)}
        return cls(**columns)


@dataclass(frozen=True)
class Receipt:
    """One write that the data plane has taken."""

    target: Target
    knob: Knob
    before: KnobValue
    after: KnobValue
    version: str = ""
    """What the control plane calls the new state: a resourceVersion, an Envoy version_info."""
    details: Mapping[str, str] = field(default_factory=dict)
