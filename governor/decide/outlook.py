"""What detection and prediction tell the laws: who is abnormal, who is to blame, how much load may come.

A law may become more careful by it and never bolder: a forecast widens what demand may be, and what is abnormal
now teaches nobody what is normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from governor.decide.load import Array
from governor.domain import MeshIndex


@dataclass(frozen=True, eq=False)
class Outlook:
    """Arrays over one index."""

    growth: Array
    """(S,) upper quantile of the load soon to come over the load now, at least 1; 1 where nothing is known."""
    abnormal: NDArray[np.bool_]
    """(E,) errors or latency of the edge or its callee are abnormally high."""
    victim: NDArray[np.bool_]
    """(S,) hurts only because it waits for another."""
    blame: Array
    """(S,) share of a symptom that each service explains by itself, 0..1."""

    @classmethod
    def calm(cls, index: MeshIndex) -> Outlook:
        """Nothing abnormal, and no more load than now."""
        services = len(index.services)
        nobody = np.zeros(services, np.bool_)
        return cls(np.ones(services), np.zeros(len(index.edges), np.bool_), nobody, np.zeros(services))
