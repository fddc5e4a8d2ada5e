"""Which of many p-values to believe: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289.

Of m p-values the k smallest are believed, k the largest with p_(k) <= q k / m. Among those believed, at most a
share q is false on average, over the whole mesh and not per series; held for independent and positively
dependent series.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def believed(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Mask (N,) of those to believe at false discovery rate `rate`; NaN is neither believed nor counted."""
    measured = int(np.isfinite(p).sum())
    # Only these can pass; sorting all would cost more than all the rest.
    small = np.flatnonzero(p <= rate)
    order = small[np.argsort(p[small], kind="stable")]
    passing = np.flatnonzero(p[order] <= rate * np.arange(1, len(order) + 1) / max(measured, 1))
    mask = np.zeros(len(p), bool)
    if len(passing):
        mask[order[: passing[-1] + 1]] = True
    return mask
