"""Which dialect a Prometheus speaks: each dialect's own series are asked for, once."""

from __future__ import annotations

from governor.adapters.prometheus_client import PrometheusClient
from governor.adapters.prometheus_queries import DIALECTS, Dialect, read_dialect, rows_of
from governor.errors import SourceRefused

AUTO = "auto"
"""Setting that leaves the dialect open."""


def spoken_dialect(client: PrometheusClient) -> Dialect:
    """The dialect whose series are there; errors as `PrometheusClient.query`.

    A mesh's own metrics go before those of plain Envoys, which several meshes have besides, and those before the
    applications' own. SourceRefused where none is there, or two meshes are: a governor looks at one.
    """
    found = []
    for name in DIALECTS:
        dialect = read_dialect(name)
        rows = rows_of(client.query(dialect.found), dialect.found, client.name)
        if (rows.values > 0).any():
            found.append(dialect)
    if not found:
        raise SourceRefused(
            f"{client.name} has no series of any dialect ({', '.join(DIALECTS)}): does it scrape the proxies, "
            "and are they up? docs/dialects.md says what each mesh needs; source.prometheus.dialect names one"
        )
    first = min(dialect.rank for dialect in found)
    best = [dialect for dialect in found if dialect.rank == first]
    if len(best) > 1:
        names = ", ".join(dialect.name for dialect in best)
        raise SourceRefused(
            f"{client.name} has series of several meshes ({names}): say which one is governed, "
            f"for example source.prometheus.dialect: {best[0].name}"
        )
    return best[0]
