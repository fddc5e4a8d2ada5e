"""A cap that leaves room for bursts, shared by clusters that each count by themselves.

Of n = h + 6 sqrt(h) one of k clusters has h / k + 6 sqrt(h / k): requests do not spread evenly, so an even part
would refuse some long before the whole is full. The form is that of the law (`decide/in_flight_cap.py`).
"""

from __future__ import annotations

import math

from governor.decide.in_flight_cap import HIGH_BURST


def part(cap: float, clusters: float) -> int:
    """What each of the clusters may have; at least 1."""
    if clusters == 1.0:
        return max(1, math.ceil(cap))
    return max(1, round(_with_room(_usual(cap) / clusters)))


def whole(each: int, clusters: float) -> float:
    """The inverse of `part`."""
    return float(each) if clusters == 1.0 else _with_room(_usual(each) * clusters)


def _with_room(usual: float) -> float:
    return usual + HIGH_BURST * math.sqrt(usual)


def _usual(cap: float) -> float:
    """What is in flight without a burst: h of cap = h + HIGH_BURST sqrt(h)."""
    return (math.sqrt(cap + HIGH_BURST**2 / 4.0) - HIGH_BURST / 2.0) ** 2
