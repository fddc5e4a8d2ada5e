"""Evidence on each backend, gathered over several windows so that one at its floor weight can still be judged.

    N <- f N + attempts,  E <- f E + errors,  F <- f F + in-flight seconds,  T <- f T + seconds
    f = clip(1 - attempts / 30, 0.2, 0.95) a window
    latency = F / N (Little's law),  error share = E / N

In-flight is sampled, a few looks a window, each a Poisson count: at ten requests/s of 50 ms it is half a request
give or take one. So a latency far from the pool's must also be three standard errors of that away.

What it did with another share of the traffic (`RESHARED` times more or less) says nothing: then it starts anew.
Of a window in the middle of which a share was set nothing is counted.
A busy backend is judged by its last window or two, so that one that turns slow is seen in the first; one on few
requests forgets slowly, so that it can still be judged, and below `MIN_ATTEMPTS` is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from governor.decide.load import Array
from governor.domain import MeshFrame

FORGET = 0.2
KEEP = 0.95
REMEMBERED = 30.0
"""Attempts a window from which evidence is forgotten at the full rate."""
RESHARED = 2.0
MIN_ATTEMPTS = 12.0
SLOW = 3.0
"""Times the median latency of the pool from which a backend counts as slow."""
LEAST_APART_S = 0.01
"""Seconds above its pool from which a backend counts as slow."""
FAILING = 0.05
"""Error share above the pool's from which a backend counts as failing, if it is also significant."""
APART = 4.0
"""Times the others' error share from which it is the backend that fails, and not the load."""
SURE = 6.0
"""Standard errors in a short look between two cycles: there are a hundred thousand looks a day."""


@dataclass(frozen=True, eq=False)
class BackendEvidence:
    """Decayed sums per backend; arrays (B,)."""

    attempts: Array
    errors: Array
    flight: Array
    """In-flight seconds."""
    seconds: Array
    looks: Array
    """Samples of in-flight."""
    good_windows: Array
    """Windows in a row in which the backend looked as its peers do."""
    share: Array
    """Of its pool's traffic, as set when the evidence was gathered; NaN where nothing was."""
    moved_at: Array
    """When that was set between two cycles, seconds since the epoch; -inf where it never was."""

    @classmethod
    def none(cls, size: int) -> BackendEvidence:
        """No evidence on `size` backends."""
        nothing = np.zeros(size)
        never = np.full(size, -np.inf)
        return cls(nothing, nothing, nothing, nothing, nothing, nothing, np.full(size, np.nan), never)

    def moved(self, where: NDArray[np.bool_], at: float) -> BackendEvidence:
        """With the shares of `where` (B,) set at `at`: a window that began before says nothing of them."""
        return replace(self, moved_at=np.where(where, at, self.moved_at))


@dataclass(frozen=True, eq=False)
class BackendVerdict:
    """What the evidence says; arrays (B,)."""

    latency: Array
    """Seconds; NaN where too little is known."""
    error_share: Array
    """0..1; NaN where too little is known."""
    pool_latency: Array
    """Median over the pool, seconds."""
    pool_errors: Array
    """Error share of the other backends of the pool."""
    slow: NDArray[np.bool_]
    failing: NDArray[np.bool_]
    known: NDArray[np.bool_]
    """There were requests enough to judge by."""


def update(
    evidence: BackendEvidence, frame: MeshFrame, share: ArrayLike
) -> tuple[BackendEvidence, BackendVerdict]:
    """Add one window, and what all of it says; a backend without a measurement keeps decayed evidence.

    `share` (B,): as it is set now.
    """
    now = np.asarray(share, np.float64)
    # A move that lies further ahead was made before the clock was set back.
    mixed = np.abs(frame.at - evidence.moved_at) < frame.window_s
    window = np.where(mixed, 0.0, frame.window_s)
    attempts = np.nan_to_num(frame.backend.rate.astype(np.float64)) * window
    errors = np.nan_to_num(frame.backend.errors.astype(np.float64)) * window
    flight = np.nan_to_num(frame.backend.in_flight.astype(np.float64)) * window
    once = max(1.0, frame.window_s / frame.samples.step_s) if frame.samples is not None else 1.0
    looks = np.where(mixed, 0.0, once)
    with np.errstate(divide="ignore", invalid="ignore"):
        reshared = np.abs(np.log(now / evidence.share)) > np.log(RESHARED) - 1e-9
    keep = np.where(reshared, 0.0, np.clip(1.0 - attempts / REMEMBERED, FORGET, KEEP))
    grown = BackendEvidence(
        keep * evidence.attempts + attempts,
        keep * evidence.errors + np.minimum(errors, attempts),
        keep * evidence.flight + flight,
        keep * evidence.seconds + window,
        keep * evidence.looks + looks,
        np.where(reshared, 0.0, evidence.good_windows),
        now,
        evidence.moved_at,
    )
    found = judge(grown, frame.index.backend_edge)
    good = found.known & ~found.slow & ~found.failing
    return replace(grown, good_windows=np.where(good, grown.good_windows + 1, 0.0)), found


def judge(evidence: BackendEvidence, pool: NDArray[np.int32]) -> BackendVerdict:
    """Compare each backend with its pool; `pool` (B,) is the edge each belongs to.

    Failing: the error share is `FAILING` above that of the others, three standard errors away and `APART` times
    it; where the others fail nearly as much it is the load and not the backend.
    """
    known = evidence.attempts >= MIN_ATTEMPTS
    stuck = (evidence.attempts < MIN_ATTEMPTS) & (evidence.flight > 0) & (evidence.attempts > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        latency = np.where(known | stuck, evidence.flight / evidence.attempts, np.nan)
        share = np.where(known, evidence.errors / evidence.attempts, np.nan)
    size = int(pool.max()) + 1 if len(pool) else 0
    median = _median_by(pool, np.where(known, latency, np.nan), size)[pool]
    all_errors = np.bincount(pool, weights=evidence.errors, minlength=size)[pool]
    all_attempts = np.bincount(pool, weights=evidence.attempts, minlength=size)[pool]
    others = np.maximum(all_attempts - evidence.attempts, 1.0)
    rest = np.clip((all_errors - evidence.errors) / others, 0.0, 1.0)
    pooled = np.clip(all_errors / np.maximum(all_attempts, 1.0), 1e-4, 1 - 1e-4)
    error = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(evidence.attempts, 1.0) + 1 / others))
    alone = np.bincount(pool, minlength=size)[pool] < 2
    failing = known & (share - rest > np.maximum(FAILING, 3.0 * error)) & (share > APART * rest) & ~alone
    slow = (
        known
        & (latency > SLOW * median)
        & (latency - median > LEAST_APART_S)
        & _significant(evidence, pool, size)
        & ~alone
    )
    return BackendVerdict(latency, share, median, rest, slow, failing, known)


def turned(frame: MeshFrame) -> tuple[BackendEvidence, BackendVerdict]:
    """What one short look says by itself; looks come often, so that it must be far surer than `judge`.

        sure = (2 sqrt(x + 3/8) - 2 sqrt(m + 3/8)) / sqrt(1 + m / others) > `SURE`

    x are in-flight requests summed over the scrapes, m what the others' latency explains of them (`others` of
    theirs are counted): Anscombe's transform, because a normal error is far too small for counts of a few. The
    same of failed attempts. A backend that hardly answers any more has few attempts, and is judged all the same;
    but not where attempts are not known, as after a proxy's restart, or where the others have too few.
    Source: Anscombe, Biometrika 35, 1948.
    """
    pool, size = frame.index.backend_edge, len(frame.index.edges)
    seen, found = update(BackendEvidence.none(len(pool)), frame, np.full(len(pool), np.nan))
    # Over one step there are two scrapes, one at either end.
    flights = seen.flight / seen.seconds * (seen.looks + 1.0)
    peers = _others(seen.attempts, pool, size)
    rest = _others(seen.flight, pool, size) / np.maximum(peers, 1.0)
    latency = seen.flight / np.maximum(seen.attempts, 1.0)
    slow = (latency > SLOW * rest) & (latency - rest > LEAST_APART_S)
    slow &= np.isfinite(frame.backend.rate) & (peers >= MIN_ATTEMPTS)
    slow &= _sureness(flights, seen.attempts, pool, size) > SURE
    failing = found.failing & (_sureness(seen.errors, seen.attempts, pool, size) > SURE)
    return seen, replace(found, latency=latency, pool_latency=rest, slow=slow, failing=failing)


def _sureness(counts: Array, attempts: Array, pool: NDArray[np.int32], size: int) -> Array:
    """(B,) standard errors by which a Poisson count is above what the others' count for each attempt explains."""
    others = _others(counts, pool, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nan_to_num(attempts * others / _others(attempts, pool, size), posinf=0.0)
        spread = np.sqrt(1.0 + np.where(others > 0, expected / others, 0.0))
    return np.asarray(2.0 * (np.sqrt(counts + 0.375) - np.sqrt(expected + 0.375)) / spread, np.float64)


def _others(values: Array, pool: NDArray[np.int32], size: int) -> Array:
    """(B,) sum over the other backends of the pool."""
    return np.asarray(np.bincount(pool, values, size)[pool] - values, np.float64)


def _significant(evidence: BackendEvidence, pool: NDArray[np.int32], size: int) -> NDArray[np.bool_]:
    """(B,) more in flight than the others' latency explains, by three standard errors of Poisson counts.

    excess = L - r W_others;  variance = (r W + (r W)^2 / (r_others W)) / looks;  W: latency of the whole pool
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, level = evidence.attempts / evidence.seconds, evidence.flight / evidence.seconds
        all_rate, all_level = (np.bincount(pool, np.nan_to_num(x), size)[pool] for x in (rate, level))
        expected = rate * all_level / all_rate
        excess = level - rate * (all_level - level) / (all_rate - rate)
        apart = expected**2 / ((all_rate - rate) * all_level / all_rate)
        error = np.sqrt((expected + apart) / evidence.looks)
    return np.asarray(excess > 3.0 * error, np.bool_)


def _median_by(group: NDArray[np.int32], values: Array, size: int) -> Array:
    """Lower median of `values` within each group, NaN left out; vectorised over groups."""
    out = np.full(size, np.nan)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group, minlength=size)
    starts = np.cumsum(counts) - counts
    # Groups of one size are the rows of one matrix; a mesh has few sizes. NaN is sorted to the end of its row.
    for count in np.unique(counts[counts > 0]).tolist():
        groups = np.flatnonzero(counts == count)
        table = np.sort(values[order[starts[groups][:, None] + np.arange(count)]], axis=1)
        middle = (np.isfinite(table).sum(axis=1) - 1) // 2
        out[groups] = table[np.arange(len(groups)), middle]  # all NaN: the last, NaN again
    return out
