"""Durations as objects spell them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_PART = re.compile(r"([0-9]*\.?[0-9]+)(h|ms|us|ns|m|s)")
_UNIT = {"h": "3600", "m": "60", "s": "1", "ms": "1e-3", "us": "1e-6", "ns": "1e-9"}


def seconds(text: Any) -> float | None:
    """Seconds of a duration as Go writes it (`1m30s`, `250ms`, `1.5s`); None for none and for 0, which is off."""
    if not isinstance(text, str):
        return None
    parts = _PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return None
    # Decimal: 59ms is to be read as the 0.059 that it was written from.
    return float(sum(Decimal(number) * Decimal(_UNIT[unit]) for number, unit in parts)) or None


def milliseconds(value_s: float) -> str:
    """Whole milliseconds, at least one: the finest that Istio and the Gateway API take."""
    return f"{max(1, round(value_s * 1000))}ms"


def gateway_duration(value_s: float) -> str:
    """The Gateway API's spelling, at least 1 ms: up to four whole parts of at most five digits (`1s500ms`).

    Source: GEP-2257, Gateway API Duration Format.
    """
    whole, milli = divmod(max(1, round(value_s * 1000)), 1000)
    hours, whole = divmod(whole, 3600) if whole > 99_999 else (0, whole)
    parts = ((hours, "h"), (whole, "s"), (milli, "ms"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)
