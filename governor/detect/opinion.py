"""One p-value from several views of a series, which may depend on each other in any way.

    q_g = min(1, e (p_1 ... p_m)^(1/m))     over the m > 1 views of family g; p_1 for a family of one
    p   = min(1, G min q_g)                 over G families: Bonferroni
    p   = min(1, min p_i / share_i)         over opinions with shares of the error that is allowed

A family is one question asked at several spans: no span is the right one for every series, and a mean does not
hang on which is the best for the one at hand. e times the geometric mean of p-values is a p-value whatever their
dependence: Vovk and Wang, Combining p-values via averaging, Biometrika 107 (2020) 791. Shares: Genovese, Roeder
and Wasserman, False discovery control with p-value weighting, Biometrika 93 (2006) 509.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Families = tuple[tuple[int, ...], ...]


def combined(p: Array, families: Families) -> Array:
    """P-values (N,) of p (V, N) in (0, 1]; families: positions of the views of each."""
    least = np.ones(p.shape[1])
    for views in families:
        if len(views) == 1:
            least = np.minimum(least, p[views[0]])
        else:
            least = np.minimum(least, np.e * np.exp(np.log(p[list(views)]).mean(axis=0)))
    return np.asarray(np.minimum(len(families) * least, 1.0), np.float64)


def weighed(opinions: Sequence[Array], shares: Sequence[float]) -> Array:
    """P-values (N,) of `opinions`, each (N,) of p-values; shares: positive, one for each.

    NaN is no opinion: what it would have had is the others'. 1 where nobody has any.
    """
    told = [np.isfinite(p) for p in opinions]
    whole = sum(np.where(one, share, 0.0) for one, share in zip(told, shares, strict=True))
    least = np.ones(len(opinions[0]))
    for p, one, share in zip(opinions, told, shares, strict=True):
        least = np.where(one, np.minimum(least, p * (whole / share)), least)
    return np.asarray(least, np.float64)
