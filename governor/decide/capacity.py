"""Capacity belief: how many requests/s each service can finish, kept with an interval.

    C = X * U_top / U         where CPU is reported; U_top: the use at which it saturates, 1 until seen otherwise
    C = X while saturated     elsewhere: the completion rate
    C unknown otherwise       C_low = largest X seen

Saturated means that the whole pool queues (own latency over twice its base), or CPU is used up, or attempts
time out. Latency alone of one slow replica is not saturation: the fastest backend must be slow, too. CPU alone
can lie (a noisy neighbour takes cores that the limit still shows, or the work is not on the CPU): a pool that
queues far below U_top moves it down at once. A calm window at or above it, in which demand was refused,
disproves it at once, so that capacity that came back is seen although limits still hide the demand for it.
While a queue of old requests drains, completions are not what the service does with the load it is given, and
nothing is learnt downward.

    Q <- min(Q + A - X, X * (W - W_0))     step by step: requests that wait, by balance of flow and Little's law;
                                           0 where CPU use shows idle workers

Sources: Little's law; Gunther, Guerrilla Capacity Planning (USL) for "completion rate while saturated".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governor.decide.load import Array, ServiceLoad

SATURATED_LATENCY = 2.0
"""Own latency over base latency from which a pool counts as queueing: M/M/c passes it near 97 % at c = 20."""
FULL_CPU = 0.95
BUSY_CPU = 0.9
"""A window with more CPU use is not calm, whatever its latency."""
NEIGHBOUR = 0.85
"""Part of the known top use below which a queueing pool shows that something else takes its cores."""
SAME_NEIGHBOUR = 0.97
"""The same where something is already known to take cores: the first window of it was a mixed one."""
STAFFING = 3.0
"""Waiting requests that keep c workers busy, in units of sqrt(c): Halfin & Whitt 1981, and room for imbalance."""
CALM = 0.25
"""Wait of a calm window at most, as part of `CapacityBelief.slack`."""
PROBE = 1.5
"""Raise of the estimate after a calm window near it in which demand was refused, where no CPU is reported."""
BASE_DRIFT = 1.03
"""Largest raise of a base latency in one window: a slow replica or a draining queue must not redefine normal."""
TIMEOUT_SHARE = 0.2
DRAINING = 1.2
"""Completions over arrivals from which a queue is being emptied."""
MIN_REQUESTS = 40.0
"""Requests in a window below which it says nothing about capacity (relative error over 15 %)."""


@dataclass(frozen=True, eq=False)
class CapacityBelief:
    """What is believed of each service; arrays (S,), NaN where nothing is known yet."""

    capacity: Array
    """Requests/s, best estimate."""
    spread: Array
    """Relative standard deviation of recent samples around the estimate."""
    seen: Array
    """Largest completion rate seen lately, requests/s: a lower bound that needs no model."""
    base_latency: Array
    """Own seconds without queueing."""
    path_latency: Array
    """Seconds to an answer without queueing, calls to others included."""
    top_use: Array
    """CPU use at which the service saturates, 0..1."""
    queued: Array
    """Requests that wait at the service, whether or not somebody still waits for them."""
    saturated: NDArray[np.bool_]
    calm: NDArray[np.bool_]
    """The last window had requests enough to judge, and hardly any of them queued."""

    @classmethod
    def unknown(cls, size: int) -> CapacityBelief:
        """Nothing known of `size` services."""
        nan = np.full(size, np.nan)
        no = np.zeros(size, np.bool_)
        return cls(nan, np.full(size, 0.1), nan, nan, nan, np.ones(size), nan, no, no)

    @property
    def slack(self) -> Array:
        """Shortest wait that still keeps the service busy, seconds: W_0 * 3 / sqrt(c) with c = C W_0."""
        workers = self.capacity * self.base_latency
        share = np.clip(STAFFING / np.sqrt(np.where(workers > 0, workers, np.nan)), 0.25, 1.0)
        return self.base_latency * np.where(np.isfinite(share), share, 1.0)

    @property
    def low(self) -> Array:
        """Lower bound of the capacity (about 95 % one-sided), requests/s; never below what was seen."""
        bound = self.capacity * (1.0 - np.clip(1.64 * self.spread, 0.02, 0.3))
        return np.fmax(bound, np.where(self.saturated, np.nan, self.seen))


def update(
    belief: CapacityBelief,
    load: ServiceLoad,
    latency_s: Array,
    window_s: float,
    refused: NDArray[np.bool_],
    arrivals: ArrayLike | None = None,
) -> CapacityBelief:
    """One window's evidence.

    `latency_s` (S,) is the objective, used only before a base latency is known. `arrivals` (K, S) are attempts/s
    in K equal parts of the window, oldest first, NaN where unknown; without them, those of the whole window.
    `refused` (S,): limits or caps turned away requests that the service would have got.
    """
    enough = np.nan_to_num(load.completions) * window_s >= MIN_REQUESTS
    saturated = _saturated(belief, load, latency_s) & enough
    draining = load.completions > DRAINING * load.arrivals
    base, path = _base_latency(belief, load, ~saturated & enough & ~draining)
    calm = enough & ~saturated & (load.own_latency < base + CALM * belief.slack) & ~(load.utilisation > BUSY_CPU)
    hidden = calm & refused
    top = _top_use(belief, load, saturated & ~draining, hidden)
    sample = _sample(belief, load, top, saturated & ~draining, hidden)
    sample = np.where(enough & ~(draining & (sample < belief.capacity)), sample, np.nan)
    capacity, spread = _blend(belief, sample, saturated, top != belief.top_use)
    seen = np.fmax(np.where(enough, load.completions, np.nan), belief.seen * 0.98)
    seen = np.where(saturated & enough & ~draining, load.completions, seen)
    parts = load.arrivals[None, :] if arrivals is None else np.asarray(arrivals, np.float64)
    idle = ~saturated & (load.utilisation < BUSY_CPU * top)
    queued = np.where(idle, 0.0, _queued(belief.queued, load, base, parts, window_s))
    return CapacityBelief(capacity, spread, seen, base, path, top, queued, saturated, calm)


def _saturated(belief: CapacityBelief, load: ServiceLoad, latency_s: Array) -> NDArray[np.bool_]:
    base = np.where(np.isfinite(belief.base_latency), belief.base_latency, latency_s / 2.0)
    path = np.where(np.isfinite(belief.path_latency), belief.path_latency, latency_s / 2.0)
    whole_pool = ~(load.pool_latency < 0.75 * SATURATED_LATENCY * path)
    queueing = (load.own_latency > SATURATED_LATENCY * base) & whole_pool
    used_up = load.utilisation >= FULL_CPU
    return queueing | used_up | ((load.timeout_share > TIMEOUT_SHARE) & whole_pool)


def _base_latency(belief: CapacityBelief, load: ServiceLoad, usable: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Base latencies follow windows without a queue: quickly down, slowly up, and never far up in one window."""
    calm = usable & ~(load.utilisation > 0.85 * belief.top_use)

    def follow(old: Array, sample: Array) -> Array:
        gain = np.where(sample < old, 0.3, 0.05)
        moved = np.fmin(old + gain * (sample - old), BASE_DRIFT * old)
        moved = np.where(np.isfinite(old), moved, sample)
        return np.where(calm & np.isfinite(sample), moved, old)

    return follow(belief.base_latency, load.own_latency), follow(belief.path_latency, load.latency)


def _top_use(
    belief: CapacityBelief, load: ServiceLoad, saturated: NDArray[np.bool_], hidden: NDArray[np.bool_]
) -> Array:
    """CPU use at saturation: down to where a pool queues far below it, up with use, back to 1 once disproved."""
    use, top = load.utilisation, belief.top_use
    neighbour = saturated & (use < np.where(top < 1.0, SAME_NEIGHBOUR, NEIGHBOUR) * top)
    top = np.where(neighbour, np.clip(use, 0.05, 1.0), np.fmax(top, np.fmin(use, 1.0)))
    disproved = hidden & (use >= 0.9 * top)
    return np.asarray(np.where(disproved, 1.0, top), np.float64)


def _sample(
    belief: CapacityBelief,
    load: ServiceLoad,
    top: Array,
    saturated: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
) -> Array:
    """What this window says of the capacity, requests/s; NaN where it says nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        by_cpu = load.completions * top / np.where(load.utilisation > 0.02, load.utilisation, np.nan)
    probe = hidden & (load.completions > 0.7 * belief.capacity)
    by_queue = np.where(saturated, load.completions, np.where(probe, PROBE * belief.capacity, np.nan))
    return np.where(np.isfinite(by_cpu), by_cpu, by_queue)


def _queued(old: Array, load: ServiceLoad, base: Array, arrivals: Array, window_s: float) -> Array:
    """Requests that wait at the end of the window; the latency of what completes tells how many waited before.

    It is also the most there can have been: what arrives at a full queue is refused and does not wait.
    """
    waited = np.maximum(load.own_latency - np.nan_to_num(base), 0.0)
    most = np.nan_to_num(load.completions * waited)
    queued = np.where(np.isfinite(old), np.nan_to_num(old), most)
    step = window_s / len(arrivals)
    for part in arrivals:
        flow = np.where(np.isfinite(part), part, load.arrivals) - load.completions
        queued = np.clip(queued + np.nan_to_num(flow) * step, 0.0, most)
    return np.asarray(queued, np.float64)


def _blend(
    belief: CapacityBelief, sample: Array, saturated: NDArray[np.bool_], turned: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Smoothing on a log scale; what is far off is believed at once if the pool queues or top use moved."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.log(sample / belief.capacity)
    far = (saturated | turned) & (np.abs(error) > 0.15)
    gain = np.where(far, 1.0, np.where(saturated, 0.5, 0.25))
    moved = belief.capacity * np.exp(gain * error)
    capacity = np.where(np.isfinite(sample), np.where(np.isfinite(moved), moved, sample), belief.capacity)
    spread = np.sqrt(0.8 * belief.spread**2 + 0.2 * np.minimum(np.abs(error), 0.3) ** 2)
    return capacity, np.where(np.isfinite(error), np.maximum(spread, 0.01), belief.spread)


def with_work_time(belief: CapacityBelief, cpu_used: Array, load: ServiceLoad) -> CapacityBelief:
    """Where no calm window was seen yet: CPU seconds per request as the least base latency there can be."""
    with np.errstate(divide="ignore", invalid="ignore"):
        work = cpu_used / np.where(load.completions > 0, load.completions, np.nan)
    return replace(
        belief,
        base_latency=np.where(np.isfinite(belief.base_latency), belief.base_latency, work),
        path_latency=np.where(np.isfinite(belief.path_latency), belief.path_latency, work),
    )
