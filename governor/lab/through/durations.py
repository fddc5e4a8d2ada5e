"""Durations as the APIs of Kubernetes take them."""

from __future__ import annotations


def milliseconds(seconds: float) -> str:
    """Whole milliseconds, the finest that Istio and Gateway API take."""
    return f"{max(1, round(1000 * seconds))}ms"
