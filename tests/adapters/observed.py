"""What the source makes of a stand-in's answers, and which signals it says are absent."""

from __future__ import annotations

from contextlib import closing

from governor.adapters.prometheus import PrometheusOptions, PrometheusSource
from governor.domain import GapReason, MeshFrame

from .fake_prometheus import NOW


class StandingClock:
    """The stand-in's time, or a clock that is off by `ahead_s`."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self._ahead_s = ahead_s

    def now(self) -> float:
        """Seconds since the epoch."""
        return NOW + self._ahead_s


def observed(options: PrometheusOptions, window_s: float = 30.0, ahead_s: float = 0.0) -> MeshFrame:
    """One frame of a source of its own."""
    with closing(PrometheusSource(options, StandingClock(ahead_s))) as source:
        return source.observe(window_s)


def reasons(frame: MeshFrame, signal: str) -> dict[str, GapReason]:
    """Why the signal is absent, by subject."""
    return {gap.subject: gap.reason for gap in frame.gaps if gap.signal == signal}
