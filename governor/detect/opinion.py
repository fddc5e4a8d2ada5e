"""One p-value from several views of a series, which may depend on each other in any way.

    q_g = min(1, e (p_1 ... p_m)^(1/m))     over the m > 1 views of family g; p_1 for a family of one
    p   = min(1, G min q_g)                 over G families: Bonferroni

A family is one question asked at several spans: no span is the right one for every series, and a mean does not
hang on which is the best for the one at hand. e times the geometric mean of p-values is a p-value whatever their
dependence: Vovk and Wang, Combining p-values via averaging, Biometrika 107 (2020) 791.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Families = tuple[tuple[int, ...], ...]


def combined(p: Array, families: Families) -> Array:
    """P-values (N,) of p (V, N) in (0, 1]; families: positions of the views of each."""
    least = np.ones(p.shape[1])
    for views in families:
        mean = np.exp(np.log(p[list(views)]).mean(axis=0))
        least = np.minimum(least, mean if len(views) == 1 else np.e * mean)
    return np.asarray(np.minimum(len(families) * least, 1.0), np.float64)
