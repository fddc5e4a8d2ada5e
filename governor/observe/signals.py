"""One signal over one table: values, and why some are absent or not to be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from governor.domain import GapReason

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

REASONS = tuple(GapReason)
WHOLE = -1
KEPT = frozenset({GapReason.RESET, GapReason.PARTIAL})
"""Reasons that lower trust in a value but do not remove it."""


@dataclass(frozen=True, eq=False)
class Signal:
    """Values (n,) with the reason for each that is not whole, as position in `REASONS`, -1 where it is whole."""

    values: Floats
    reasons: NDArray[np.int8]

    @classmethod
    def of(cls, values: Floats, flaws: Mapping[GapReason, Flags] | None = None) -> Self:
        """Mark `values` with `flaws`, the first that applies; what is NaN without a flaw is missing."""
        reasons = np.full(len(values), WHOLE, np.int8)
        kept = values.astype(np.float64)
        for reason, where in (flaws or {}).items():
            reasons[where & (reasons == WHOLE)] = REASONS.index(reason)
            if reason not in KEPT:
                kept[where] = np.nan
        odd = ~np.isfinite(kept) & (reasons == WHOLE)
        reasons[odd & np.isinf(kept)] = REASONS.index(GapReason.NOT_FINITE)
        reasons[odd & np.isnan(kept)] = REASONS.index(GapReason.MISSING)
        kept[np.isinf(kept)] = np.nan
        return cls(kept, reasons)

    @property
    def trust(self) -> float:
        """Share of the expected values that are whole, 0..1.

        Where there were too few requests no value is expected; a signal without any value is not trusted.
        """
        expected = self.reasons != REASONS.index(GapReason.TOO_FEW)
        whole = np.count_nonzero(self.reasons == WHOLE)
        return whole / np.count_nonzero(expected) if whole else 0.0
