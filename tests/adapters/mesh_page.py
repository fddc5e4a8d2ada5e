"""One metrics page of a mesh: series that grow at a known rate, and what of the traffic they tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Labels = Mapping[str, str]
INTO_WEB, RATE, ERRORS, RETRIES = 500.0, 400.0, 20.0, 30.0
SHARES = {"v1": 0.75, "v2": 0.25}
TIMES_S = ((0.02, 0.9), (0.08, 0.08), (0.4, 0.02))
"""Seconds of an answer, and the share of answers that take so long: the median is 20 ms, the p99 400 ms."""
MEAN_S = sum(seconds * share for seconds, share in TIMES_S)
WEB, REVIEWS = "web.shop.svc.cluster.local", "reviews.shop.svc.cluster.local"

ENVOY_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
LINKERD_MS = (*range(1, 6), *range(10, 60, 10), *range(100, 600, 100), *range(1000, 6000, 1000), 10000, 50000)
LINKERD_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 10)
GO_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
OPENTELEMETRY_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


@dataclass(frozen=True)
class Series:
    """One series: a counter's growth per second, or a gauge's value."""

    name: str
    labels: Labels
    value: float
    gauge: bool = False

    def line(self, start: float, now: float) -> str:
        """As it stands on the page at `now`, with the time: that of the scrape would be a little off."""
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        value = self.value if self.gauge else self.value * (now - start)
        return f"{self.name}{{{labels}}} {value:.6f} {now * 1000:.0f}\n"


@dataclass(frozen=True)
class MeshPage:
    """A page, and what of the traffic its mesh tells."""

    dialect: str
    series: tuple[Series, ...]
    gateway: str
    """Caller of `web`."""
    bounds_s: tuple[float, ...]
    """Buckets, seconds."""
    caller: str = WEB
    """Caller of `reviews`."""
    callee: str = REVIEWS
    retries: float | None = None
    backends: Mapping[str, float] | None = None
    """Attempts/s by backend of the edge into `reviews`."""
    entry: str = WEB
    """What the gateway calls, and so the API."""
    completed: float | None = INTO_WEB
    """Answers/s of that API, None where the mesh does not tell."""
    limited: float | None = 0.0
    unseen: str = ""
    """A service of which only connections are counted."""

    def text(self, start: float, now: float) -> str:
        """The page at `now` of a mesh that began at `start`, seconds since the epoch."""
        return "".join(one.line(start, now) for one in self.series)

    def bucket_s(self, quantile: float) -> tuple[float, float]:
        """Bounds of the bucket that holds the quantile of the times."""
        below, found = 0.0, TIMES_S[-1][0]
        for seconds, share in TIMES_S:
            below += share
            if below >= quantile:
                found = seconds
                break
        upper = min(bound for bound in self.bounds_s if bound >= found)
        return max((bound for bound in self.bounds_s if bound < upper), default=0.0), upper


def in_seconds(bounds_ms: Sequence[float]) -> tuple[float, ...]:
    return tuple(bound / 1000 for bound in bounds_ms)


def by_version(per_s: float, prefix: str = "") -> dict[str, float]:
    """A rate of `reviews` as its versions share it, the names behind `prefix`."""
    return {prefix + version: per_s * share for version, share in SHARES.items()}


def counter(name: str, per_s: float, labels: Labels) -> Series:
    return Series(name, labels, per_s)


def histogram(
    name: str, per_s: float, labels: Labels, bounds: Sequence[float], unit: float = 1.0
) -> list[Series]:
    """Buckets, sum and count of `per_s` answers a second; `unit` is 1000 for milliseconds."""
    found = [Series(f"{name}_count", labels, per_s), Series(f"{name}_sum", labels, per_s * MEAN_S * unit)]
    for bound in (*bounds, math.inf):
        share = sum(part for seconds, part in TIMES_S if seconds * unit <= bound)
        le = "+Inf" if math.isinf(bound) else f"{bound:g}"
        found.append(Series(f"{name}_bucket", {**labels, "le": le}, per_s * share))
    return found
