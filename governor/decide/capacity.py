"""Capacity belief: how many requests/s each service can finish, kept with an interval.

    saturated:    C = X                         (completion rate)
    unsaturated:  C = X * U_top / U             (CPU where reported; U_top is the use at which it last saturated)
    neither:      C unknown, C_low = largest X seen

Saturated means that the whole pool queues (own latency over twice its base), or CPU is used up, or attempts
time out. Latency alone of one slow replica is not saturation: the fastest backend must be slow, too. CPU alone
can lie (a noisy neighbour takes cores that the limit still shows), so queueing overrules it and moves U_top.
Sources: Little's law; Gunther, Guerrilla Capacity Planning (USL) for "completion rate while saturated".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from governor.decide.load import Array, ServiceLoad

SATURATED_LATENCY = 2.0
"""Own latency over base latency from which a pool counts as queueing: M/M/c passes it near 97 % at c = 20."""
FULL_CPU = 0.95
TIMEOUT_SHARE = 0.2
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
    saturated: NDArray[np.bool_]

    @classmethod
    def unknown(cls, size: int) -> CapacityBelief:
        """Nothing known of `size` services."""
        nan = np.full(size, np.nan)
        return cls(nan, np.full(size, 0.1), nan, nan, nan, np.ones(size), np.zeros(size, np.bool_))

    @property
    def low(self) -> Array:
        """Lower bound of the capacity (about 95 % one-sided), requests/s; never below what was seen."""
        bound = self.capacity * (1.0 - np.clip(1.64 * self.spread, 0.02, 0.3))
        return np.fmax(bound, np.where(self.saturated, np.nan, self.seen))


def update(belief: CapacityBelief, load: ServiceLoad, latency_s: Array, window_s: float) -> CapacityBelief:
    """One window's evidence; `latency_s` (S,) is the objective, used only before a base latency is known."""
    enough = np.nan_to_num(load.completions) * window_s >= MIN_REQUESTS
    saturated = _saturated(belief, load, latency_s) & enough
    base, path = _base_latency(belief, load, saturated, enough)
    top = _top_use(belief, load, saturated, enough)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_cpu = load.completions * top / np.where(load.utilisation > 0.02, load.utilisation, np.nan)
    sample = np.where(saturated, load.completions, np.where(enough, by_cpu, np.nan))
    capacity, spread = _blend(belief, sample, saturated)
    seen = np.fmax(np.where(enough, load.completions, np.nan), belief.seen * 0.98)
    seen = np.where(saturated & enough, load.completions, seen)
    return CapacityBelief(capacity, spread, seen, base, path, top, saturated)


def _saturated(belief: CapacityBelief, load: ServiceLoad, latency_s: Array) -> NDArray[np.bool_]:
    base = np.where(np.isfinite(belief.base_latency), belief.base_latency, latency_s / 2.0)
    path = np.where(np.isfinite(belief.path_latency), belief.path_latency, latency_s / 2.0)
    whole_pool = ~(load.pool_latency < 0.75 * SATURATED_LATENCY * path)
    queueing = (load.own_latency > SATURATED_LATENCY * base) & whole_pool
    used_up = load.utilisation >= FULL_CPU
    return queueing | used_up | ((load.timeout_share > TIMEOUT_SHARE) & whole_pool)


def _base_latency(
    belief: CapacityBelief, load: ServiceLoad, saturated: NDArray[np.bool_], enough: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Base latencies follow calm windows: quickly down, slowly up. Until there was one, CPU per request."""
    calm = enough & ~saturated & ~(load.utilisation > 0.85)

    def follow(old: Array, sample: Array) -> Array:
        gain = np.where(sample < old, 0.3, 0.05)
        moved = np.where(np.isfinite(old), old + gain * (sample - old), sample)
        return np.where(calm & np.isfinite(sample), moved, old)

    base, path = follow(belief.base_latency, load.own_latency), follow(belief.path_latency, load.latency)
    return base, path


def _top_use(
    belief: CapacityBelief, load: ServiceLoad, saturated: NDArray[np.bool_], enough: NDArray[np.bool_]
) -> Array:
    """CPU use at saturation: set when saturated below it, raised at once when use passes it, else drifts up."""
    use = load.utilisation
    top = np.where(saturated & enough & np.isfinite(use), np.clip(use, 0.05, 1.0), belief.top_use)
    calm = ~saturated & enough
    top = np.where(calm, np.fmin(1.0, np.fmax(top * 1.02, np.nan_to_num(use))), top)
    return np.asarray(top, np.float64)


def _blend(belief: CapacityBelief, sample: Array, saturated: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Log-scale exponential smoothing; a saturated service far from the belief is believed at once."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.log(sample / belief.capacity)
    far = saturated & (np.abs(error) > 0.15)
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
