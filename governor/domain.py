"""What the governor knows of a mesh: names, and one window of signals over them.

Everything is columnar. Services, edges, backends and APIs are indexed once in `MeshIndex`; each signal is a
float32 array over that index, so that a mesh of 10,000 services and 100,000 edges is a few dozen arrays.
Missing is never zero: a value that could not be measured is NaN in the array and a `Gap` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


class GapReason(StrEnum):
    """Why a value is absent."""

    MISSING = "series missing"
    STALE = "no fresh sample"
    NOT_FINITE = "not a finite number"
    RESET = "counter was reset in the window"
    TOO_FEW = "too few requests in the window"
    PARTIAL = "the source answered only in part"


@dataclass(frozen=True)
class Gap:
    """One absence: which signal, of what, and why."""

    signal: str
    subject: str
    reason: GapReason
    detail: str = ""


@dataclass(frozen=True, eq=False)
class MeshIndex:
    """Names of all that is measured, and how it hangs together.

    S services, E edges (caller -> callee), B backends (one endpoint or subset of one edge's callee),
    A APIs (classes of requests that enter the mesh through one edge).
    """

    services: tuple[str, ...]
    edges: tuple[str, ...]
    edge_caller: IntArray
    """(E,) position of the caller in `services`."""
    edge_callee: IntArray
    """(E,) position of the callee in `services`."""
    backends: tuple[str, ...] = ()
    """Names unique within their edge, for example `127.0.0.1:8080`."""
    backend_edge: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    """(B,) position of the backend's edge in `edges`."""
    apis: tuple[str, ...] = ()
    api_edge: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    """(A,) position of the edge through which the API enters."""

    def __post_init__(self) -> None:
        assert len(self.edge_caller) == len(self.edge_callee) == len(self.edges)
        assert len(self.backend_edge) == len(self.backends)
        assert len(self.api_edge) == len(self.apis)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Rows of each table of signals: service, edge, backend, api."""
        return {
            "service": len(self.services),
            "edge": len(self.edges),
            "backend": len(self.backends),
            "api": len(self.apis),
        }

    @cached_property
    def edge_position(self) -> Mapping[str, int]:
        """Position of each edge in `edges`."""
        return {name: i for i, name in enumerate(self.edges)}

    @cached_property
    def api_position(self) -> Mapping[str, int]:
        """Position of each API in `apis`."""
        return {name: i for i, name in enumerate(self.apis)}

    def same_names(self, other: MeshIndex) -> bool:
        """Whether arrays over `other` line up with arrays over this index."""
        return self is other or (
            self.services == other.services
            and self.edges == other.edges
            and self.backends == other.backends
            and self.apis == other.apis
            and np.array_equal(self.backend_edge, other.backend_edge)
        )


def _nan(size: int) -> FloatArray:
    return np.full(size, np.nan, np.float32)


@dataclass(frozen=True, eq=False)
class _Signals:
    """Base of the signal tables: every field is one float32 array of the same length."""

    @classmethod
    def unknown(cls, size: int, **known: FloatArray) -> Self:
        """A table with the arrays in `known` and NaN everywhere else."""
        columns = {f.name: known.pop(f.name) if f.name in known else _nan(size) for f in fields(cls)}
        if known:
            raise TypeError(f"{cls.__name__} has no signal {', '.join(known)}")
        return cls(**columns)


@dataclass(frozen=True, eq=False)
class ServiceSignals(_Signals):
    """Per service, as its own side reports it; each array (S,)."""

    cpu_used: FloatArray
    """Cores in use, mean over the window, all replicas."""
    cpu_limit: FloatArray
    """Cores allowed, all replicas."""
    completions: FloatArray
    """Requests/s the service finished, whether or not the caller still waited."""
    server_latency: FloatArray
    """Mean seconds from the server's receipt to its answer, queueing included."""
    replicas: FloatArray
    """Number of replicas that reported."""


@dataclass(frozen=True, eq=False)
class EdgeSignals(_Signals):
    """Per edge, as the caller sees it; each array (E,)."""

    rate: FloatArray
    """Final answers/s, retried attempts not counted, answers of a full cap counted."""
    errors: FloatArray
    """Final 5xx answers/s, those of a full cap included."""
    attempts: FloatArray
    """Attempts/s sent to the callee, retries included, refused by the cap excluded."""
    retries: FloatArray
    """Retries/s."""
    timeouts: FloatArray
    """Attempts/s that ran into a request or per-try timeout."""
    overflow: FloatArray
    """Requests/s refused because the in-flight cap was full."""
    in_flight: FloatArray
    """Requests in flight, mean over the window's samples."""
    latency_mean: FloatArray
    """Seconds, mean over answered attempts."""
    latency_p50: FloatArray
    """Seconds."""
    latency_p99: FloatArray
    """Seconds."""
    latency_p999: FloatArray
    """Seconds."""


@dataclass(frozen=True, eq=False)
class BackendSignals(_Signals):
    """Per backend of an edge, as the caller sees it; each array (B,)."""

    rate: FloatArray
    """Attempts/s sent to this backend."""
    errors: FloatArray
    """Attempts/s that failed at this backend (5xx, reset, timeout; not a full cap)."""
    in_flight: FloatArray
    """Requests in flight at this backend, mean over the window's samples."""


@dataclass(frozen=True, eq=False)
class ApiSignals(_Signals):
    """Per API at its entry; each array (A,)."""

    offered: FloatArray
    """Requests/s that clients sent, those refused by a rate limit included."""
    limited: FloatArray
    """Requests/s refused by the API's rate limit."""
    completed: FloatArray
    """Final answers/s of requests that passed the limit."""
    errors: FloatArray
    """5xx answers/s of requests that passed the limit."""
    latency_p99: FloatArray
    """Seconds."""


@dataclass(frozen=True, eq=False)
class RateSamples:
    """Short samples within and before the window, oldest first: what the cost matrix is fitted on.

    K samples; rates in requests/s. Rows with NaN are skipped.
    """

    api_admitted: FloatArray
    """(K, A) requests/s that passed each API's limit."""
    service_arrivals: FloatArray
    """(K, S) attempts/s that arrived at each service."""
    step_s: float = 1.0
    """Seconds from one row to the next."""


@dataclass(frozen=True, eq=False)
class MeshFrame:
    """One window of the mesh."""

    at: float
    """End of the window, seconds since the epoch, by the source's clock."""
    window_s: float
    """Length of the window in seconds."""
    index: MeshIndex
    service: ServiceSignals
    edge: EdgeSignals
    backend: BackendSignals
    api: ApiSignals
    age_s: float = 0.0
    """Age of the newest sample when the frame was made, in seconds."""
    trust: Mapping[str, float] = field(default_factory=dict)
    """Per signal (`edge.rate`, ...): share of the values that were there, fresh and whole, 0..1."""
    gaps: tuple[Gap, ...] = ()
    """What is absent and why; at most one entry for each signal and subject."""
    samples: RateSamples | None = None
    within: tuple[MeshFrame, ...] = ()
    """Frames that ended within this window, oldest first, where the source samples more often than it is asked.

    Detection looks at each of them.
    """

    def trust_of(self, *signals: str) -> float:
        """Lowest trust among `signals`; 0 for a signal that was not asked for."""
        return min((self.trust.get(name, 0.0) for name in signals), default=0.0)
