"""The clusters of an edge's subsets as backends of the edge: pure, over the scrapes of one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from governor.adapters.envoy_admin_series import Series

Floats = NDArray[np.float64]
Subject = tuple[str, ...]
"""Name of an edge, for a subset's cluster with the subset; or of an edge and its backend."""
_SAME = {"attempts": "rate", "in_flight": "in_flight"}
"""What an edge's signal says of a backend that is all of a cluster."""


def backends_of(edges: Iterable[Subject], backends: Iterable[Subject]) -> list[tuple[str, str]]:
    """Edge and name of each backend: where an edge is split its subsets, not the endpoints of its clusters."""
    subsets = {(edge, subset[0]) for edge, *subset in edges if subset}
    split = {edge for edge, _ in subsets}
    return [(edge, name) for edge, name in backends if edge not in split or (edge, name) in subsets]


def with_backends(series: Sequence[Series], values: Floats) -> tuple[list[Series], Floats]:
    """The series of a page (n,) and its scrapes (K, n), with those of the backends that subsets are.

    A subset's successes are its final answers less those that are errors.
    """
    columns = {
        (one.subject, one.signal): column
        for column, one in enumerate(series)
        if one.table == "edge" and len(one.subject) > 1
    }
    added: list[Series] = []
    found: list[Floats] = []
    for (subject, signal), column in columns.items():
        one = series[column]
        if signal in _SAME:
            added.append(one._replace(table="backend", signal=_SAME[signal]))
            found.append(values[:, column])
        elif signal == "rate":
            errors = columns.get((subject, "errors"))
            lost = 0.0 if errors is None else np.nan_to_num(values[:, errors])
            added.append(one._replace(table="backend", signal="success"))
            found.append(values[:, column] - lost)
    if not added:
        return list(series), values
    return [*series, *added], np.column_stack([values, *found])
