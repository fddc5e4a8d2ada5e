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
    found: str
    """Query that answers with a number above 0 where this dialect is spoken."""
    rank: int
    """Of several dialects that are spoken the one with the lowest rank is the mesh's own."""
    labels: Mapping[str, tuple[tuple[str, ...], ...]]
    """For callers, callees, ...: labels that give the name, and those that give the namespace."""
    missing: Mapping[str, str]
    """Words for signals (`edge.retries`) that this mesh does not tell, or only if asked to."""
    unseen: Query | None
    """Services that are there but whose requests nobody counts."""
    unseen_why: str
    """What is to be said of them."""

    @property
    def seen(self) -> Query:
        """The query that says which edges there are, and since when."""
        return next(query for query in self.queries if query.name == "edge.seen")

    def probe_of(self, labels: Labels) -> str:
        """Selector of the raw series of the edge that `labels` name."""
        pairs = ",".join(f"{name}={quoted(value)}" for name, value in sorted(labels.items()))
        return Template(self.probe).safe_substitute(labels=pairs)


DIALECTS = ("istio", "linkerd", "envoy-gateway", "hubble", "knative", "envoy", "opentelemetry")
"""All dialects that Prometheus can be asked in."""


@cache
def read_dialect(name: str) -> Dialect:
    """The dialect `name`, one of `DIALECTS`."""
    table, common = dialect(name), dialect("kubernetes")
    spelled = _Words(table, common["words"])
    queries = [
        Query(key, spelled(one["promql"]), one.get("zero"), bool(one.get("partial")))
        for key, given in {**table["queries"], **common["queries"]}.items()
        for one in (given if isinstance(given, list) else [given])
    ]
    unseen = table.get("unseen")
    return Dialect(
        name=name,
        queries=tuple(queries),
        api_samples=spelled(table["samples"]["api"]),
        edge_samples=spelled(table["samples"]["edge"]),
        probe=spelled(table["probe"]),
        slow_s=float(table["slow_s"]),
        gateways=table.get("gateways", ""),
        entry=table.get("entry", ""),
        history=spelled(table["history"]),
        found=spelled(table["found"]),
        rank=int(table["rank"]),
        labels={what: tuple(tuple(names) for names in pair) for what, pair in table.get("labels", {}).items()},
        missing=table.get("missing", {}),
        unseen=None if unseen is None else Query("unseen", spelled(unseen["promql"])),
        unseen_why="" if unseen is None else unseen["why"],
    )


class _Words:
    """The dialect's own words, which may hold one another, in its queries; lengths are left for later."""

    def __init__(self, table: Mapping[str, Any], common: Mapping[str, str]) -> None:
        self._words: dict[str, str] = {"gateways": table.get("gateways", "")}
        for word, text in {**common, **table.get("words", {})}.items():
            self._words[word] = self(text)

    def __call__(self, promql: str) -> str:
        return Template(promql).safe_substitute(self._words)


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
