"""A frame as the tables that detection looks at: what each service and each edge does, and how well.

    service:    rate, error_share, latency      with the rate as the driver of the other two: see `expected`
    resources:  cpu                             share of what is allowed; only services that report it
    edge:       rate, error_share, latency_mean, latency_p99

The first two are compared with what is usual at the hour, too (see `season`); edges, ten times as many, are not.

A share or a latency of a handful of requests is noise: below `FEWEST` in the window it is not measured.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from governor.detect.expected import Options
from governor.detect.tables import RELATION, Table
from governor.domain import FloatArray, MeshFrame
from governor.rows import sum_by

Array = NDArray[np.float64]
FEWEST = 20
"""Requests in the window without which nothing is said of their share of errors or their latency."""
RELATIONS = Options(lags=(1, 2), drivers=(0,))
ERRORS = frozenset({"error_share"})
HARM = ERRORS | {"latency", "latency_mean", "latency_p99", RELATION}
"""Signals that hurt callers where they are too high; a rate is only busy or quiet."""


def tables_of(frame: MeshFrame) -> tuple[Table, ...]:
    """Tables `service` (S rows), `resources` (S rows) and `edge` (E rows) of one window."""
    index, edge = frame.index, frame.edge
    rate, error_share, latency = service_signals(frame)
    told = edge.rate * frame.window_s >= FEWEST
    of_edges = np.stack([edge.rate, _share(edge.errors, edge.rate), edge.latency_mean, edge.latency_p99])
    of_edges[1:, ~told] = np.nan
    services = np.stack([rate, error_share, latency])
    services[1:, ~(rate * frame.window_s >= FEWEST)] = np.nan
    cpu = _share(frame.service.cpu_used, frame.service.cpu_limit)
    return (
        Table(
            "service",
            index.services,
            ("rate", "error_share", "latency"),
            services.astype(np.float32),
            RELATIONS,
            seasonal=True,
        ),
        Table("resources", index.services, ("cpu",), cpu[None].astype(np.float32), seasonal=True),
        Table(
            "edge",
            index.edges,
            ("rate", "error_share", "latency_mean", "latency_p99"),
            of_edges.astype(np.float32),
        ),
    )


def rate_of(tables: tuple[Table, ...]) -> FloatArray:
    """(S,) requests/s to each service, out of the tables of a frame."""
    (services,) = (table for table in tables if table.name == "service")
    rate: FloatArray = services.values[services.signals.index("rate")]
    return rate


def service_signals(frame: MeshFrame) -> tuple[Array, Array, Array]:
    """(S,) final answers/s to all callers, the share of them that failed, and mean seconds to an answer.

    The latency is the server's own where it reports one, else what its callers see.
    """
    index, edge = frame.index, frame.edge
    size, callee = len(index.services), index.edge_callee

    rate = sum_by(callee, edge.rate, size)
    timed = np.where(np.isfinite(edge.latency_mean), edge.rate, np.nan)
    seen = _share(sum_by(callee, timed * edge.latency_mean, size), sum_by(callee, timed, size))
    server = frame.service.server_latency.astype(np.float64)
    latency = np.asarray(np.where(np.isfinite(server), server, seen), np.float64)
    return rate, _share(sum_by(callee, edge.errors, size), rate), latency


def _share(part: NDArray[np.floating], whole: NDArray[np.floating]) -> Array:
    """`part` / `whole`, NaN where the whole is nothing or unknown."""
    size = np.asarray(whole, np.float64)
    good = (size > 0) & (size < np.inf)
    share: Array = np.divide(np.asarray(part, np.float64), size, out=np.full(size.shape, np.nan), where=good)
    return share
