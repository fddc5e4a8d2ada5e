"""What the edges of a frame say together about each service: arrivals, in flight, own latency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.domain import MeshFrame
from governor.rows import sum_by

Array = NDArray[np.float64]
OVER_LIMIT = 1.1
"""CPU use over the limit that measuring explains; beyond it some containers have no limit."""


@dataclass(frozen=True, eq=False)
class ServiceLoad:
    """Per service, over all edges into it (or, where named, out of it); each array (S,)."""

    arrivals: Array
    """Attempts/s that reached the service."""
    completions: Array
    """Requests/s finished: the service's own count where it reports one, else answered attempts."""
    overflow: Array
    """Requests/s refused by full caps before it."""
    timeout_share: Array
    """Attempts that timed out, share of attempts, 0..1."""
    in_flight: Array
    """Requests in flight towards the service."""
    latency: Array
    """Mean seconds to an answer, calls to others included (Little's law where no server reports)."""
    own_latency: Array
    """Mean seconds spent at the service itself: `latency` less what its own calls take."""
    pool_latency: Array
    """Mean seconds at the fastest backend: when this is slow, the whole pool is, not one replica."""
    utilisation: Array
    """CPU used over CPU allowed, 0..1; NaN where not reported, or where the limit is not all that is allowed."""
    goodput: Array
    """Good final answers/s to all callers."""


def service_load(frame: MeshFrame) -> ServiceLoad:
    """Fold the frame's edges into services.

    Own latency by Little's law: W_own = (L_in - L_out) / X, because a request that waits for a callee is in
    flight on both edges; with server-side latency known, W_own = W_server - L_out / X, which also sees requests
    whose callers have gone.
    """
    index, edge = frame.index, frame.edge
    size = len(index.services)
    arrivals = sum_by(index.edge_callee, edge.attempts, size)
    timeouts = np.nan_to_num(sum_by(index.edge_callee, edge.timeouts, size))
    answered = np.maximum(arrivals - timeouts, 0.0)
    reported = frame.service.completions.astype(np.float64)
    completions = np.where(np.isfinite(reported), reported, answered)
    in_flight = sum_by(index.edge_callee, edge.in_flight, size)
    out_flight = np.nan_to_num(sum_by(index.edge_caller, edge.in_flight, size))
    with np.errstate(divide="ignore", invalid="ignore"):
        little = in_flight / np.where(arrivals > 0, arrivals, np.nan)
        server = frame.service.server_latency.astype(np.float64)
        latency = np.where(np.isfinite(server), server, little)
        calls = out_flight / np.where(completions > 0, completions, np.nan)
        own = np.maximum(latency - np.nan_to_num(calls), 0.0)
        timeout_share = np.where(arrivals > 0, timeouts / arrivals, 0.0)
    return ServiceLoad(
        arrivals=arrivals,
        completions=completions,
        overflow=np.nan_to_num(sum_by(index.edge_callee, edge.overflow, size)),
        timeout_share=np.clip(timeout_share, 0.0, 1.0),
        in_flight=in_flight,
        latency=latency,
        own_latency=own,
        pool_latency=_pool_latency(frame, size),
        utilisation=_utilisation(frame),
        goodput=sum_by(index.edge_callee, edge.rate - edge.errors, size),
    )


def _utilisation(frame: MeshFrame) -> Array:
    """CPU used over allowed, (S,). No limit, or more used than it allows, says nothing of how full it is."""
    used, allowed = frame.service.cpu_used.astype(np.float64), frame.service.cpu_limit.astype(np.float64)
    share = np.divide(used, allowed, out=np.full(len(used), np.nan), where=(allowed > 0) & (allowed < np.inf))
    return np.where(share <= OVER_LIMIT, np.minimum(share, 1.0), np.nan)


def _pool_latency(frame: MeshFrame, size: int) -> Array:
    """Least in-flight over rate among a service's backends, NaN where none is measured; (S,)."""
    index, backend = frame.index, frame.backend
    fastest = np.full(size, np.inf)
    if len(index.backends):
        busy = (backend.rate > 0) & np.isfinite(backend.in_flight)
        callee = index.edge_callee[index.backend_edge[busy]]
        with np.errstate(over="ignore"):  # hardly a request in the window: not the fastest
            np.minimum.at(fastest, callee, backend.in_flight[busy] / backend.rate[busy])
    return np.where(np.isfinite(fastest), fastest, np.nan)
