"""The queries of one dialect, and the rows that answer them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from governor.adapters.dialects import dialect
from governor.adapters.prometheus_client import Result
from governor.errors import SourceRefused

Floats = NDArray[np.float64]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Query:
    """One query of a dialect. `name` is table.column; several of one name are alternatives, the first first."""

    name: str
    promql: str
    zero: str | None = None
    """Name of the query whose rows say where an absent value means 0."""
    partial: bool = False
    """An estimate: it lowers trust."""

    @property
    def table(self) -> str:
        """`edge` of `edge.rate`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Windows:
    """Lengths that stand in the queries, seconds."""

    range_s: float
    slow_s: float
    step_s: float

    def fill(self, promql: str) -> str:
        """`promql` with its lengths; label_replace's own `$1` stays."""
        return Template(promql).safe_substitute(
            range=_duration(self.range_s),
            slow=_duration(self.slow_s),
            step2=_duration(2 * self.step_s),
            seconds=f"{self.range_s:g}",
        )


@dataclass(frozen=True)
class Dialect:
    """One file of `dialects/`, read."""

    name: str
    queries: tuple[Query, ...]
    api_samples: str
    edge_samples: str
    probe: str
    """Selector of the raw series of one edge, with `$labels` for its labels."""
    slow_s: float
    """Shortest range for histograms."""
    gateways: str
    entry: str
    history: str
    """Final answers/s into services over one step, for weeks of them."""

    @property
    def seen(self) -> Query:
        """The query that says which edges there are, and since when."""
        return next(query for query in self.queries if query.name == "edge.seen")

    def probe_of(self, labels: Labels) -> str:
        """Selector of the raw series of the edge that `labels` name."""
        pairs = ",".join(f"{name}={quoted(value)}" for name, value in sorted(labels.items()))
        return Template(self.probe).safe_substitute(labels=pairs)


@cache
def read_dialect(name: str) -> Dialect:
    """The dialect `name`: envoy or istio."""
    table = dialect(name)
    gateways = table.get("gateways", "")

    def query(key: str, one: Mapping[str, Any]) -> Query:
        promql = Template(one["promql"]).safe_substitute(gateways=gateways)
        return Query(key, promql, one.get("zero"), bool(one.get("partial")))

    queries = [
        query(key, one)
        for key, given in table["queries"].items()
        for one in (given if isinstance(given, list) else [given])
    ]
    samples = {key: Template(text).safe_substitute(gateways=gateways) for key, text in table["samples"].items()}
    return Dialect(
        name,
        tuple(queries),
        samples["api"],
        samples["edge"],
        table["probe"],
        float(table["slow_s"]),
        gateways,
        table.get("entry", ""),
        table["history"],
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of an instant query: labels and value of each, no two with the same labels."""

    labels: tuple[Labels, ...]
    values: Floats
    """(n,)"""
    repeated: int = 0
    """Rows left out because another had the same labels: only a faulty proxy or store answers so."""
    at: float = math.nan
    """Time that the query was evaluated at, seconds since the epoch by Prometheus' clock; NaN without rows."""


def rows_of(result: Result, query: str, source: str) -> Rows:
    """Rows of an instant query; SourceRefused if they are none."""
    known: dict[tuple[tuple[str, str], ...], float] = {}
    at = math.nan
    try:
        for row in result:
            at, value = float(row["value"][0]), float(row["value"][1])
            known.setdefault(tuple(sorted(row["metric"].items())), value)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SourceRefused(_odd(source, query, error)) from error
    labels = tuple(dict(key) for key in known)
    return Rows(labels, np.array(list(known.values()), np.float64), len(result) - len(known), at)


def series_of(result: Result, query: str, source: str) -> list[tuple[Labels, Floats, Floats]]:
    """(labels, times, values) of each series of a matrix; SourceRefused if it is none."""
    try:
        return [
            (
                dict(row["metric"]),
                np.array([float(pair[0]) for pair in row["values"]]),
                np.array([float(pair[1]) for pair in row["values"]]),
            )
            for row in result
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SourceRefused(_odd(source, query, error)) from error


def quoted(value: str) -> str:
    """A PromQL string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _odd(source: str, query: str, error: Exception) -> str:
    return (
        f"{source} answers with rows that are not in Prometheus' form ({type(error).__name__}: {error}): is a "
        f"proxy changing its answers? query: {query}"
    )


def _duration(seconds: float) -> str:
    return f"{math.ceil(seconds * 1000)}ms"
