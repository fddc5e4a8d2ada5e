"""The machine's own clock."""

from __future__ import annotations

import time


class SystemClock:
    """Clock of this machine."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()
