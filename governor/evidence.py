"""What detection and root cause say, as plain data that every stage may speak of.

In an incident of a large mesh tens of thousands of series are abnormal at once, and people look at a hundred: so
anomalies stay columns, and one becomes an object only when somebody looks at it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Anomaly:
    """Which signal of what, by how much, since when."""

    table: str
    subject: str
    signal: str
    view: str
    """The value itself, a trend of it, a shift of its level; value or trend against the usual of the hour."""
    value: float
    """The view's value now, in the signal's unit, NaN if it was not measured; for `relation` the logarithm of
    one plus the mean squared standardised residual."""
    bound: float
    """The end of the range of all before, at the anomaly's beginning."""
    since: float
    """Seconds since the epoch."""
    p: float
    """Conformal p-value at the beginning."""

    @property
    def excess(self) -> float:
        """Value less bound: above 0 too high, below 0 too low."""
        return self.value - self.bound


@dataclass(frozen=True)
class Cause:
    """One service that explains a part of a symptom."""

    symptom: str
    """Service whose callers are hurt."""
    signal: str
    """latency or errors."""
    service: str
    share: float
    """Of the symptom's excess, 0..1."""


@dataclass(frozen=True, eq=False)
class AbnormalSeries:
    """The K abnormal series of one table; each array (K,)."""

    table: str
    rows: tuple[str, ...]
    """Names of the table's rows."""
    signals: tuple[str, ...]
    views: tuple[str, ...]
    row: Positions
    """In `rows`."""
    signal: Positions
    """In `signals`."""
    view: Positions
    """In `views`."""
    value: Array
    bound: Array
    since: Array
    p: Array

    def __getitem__(self, at: int) -> Anomaly:
        """One of them."""
        return Anomaly(
            table=self.table,
            subject=self.rows[self.row[at]],
            signal=self.signals[self.signal[at]],
            view=self.views[self.view[at]],
            value=float(self.value[at]),
            bound=float(self.bound[at]),
            since=float(self.since[at]),
            p=float(self.p[at]),
        )


class Anomalies(Sequence[Anomaly]):
    """All that is abnormal in a mesh, rarest first; `len` and `counts` build nothing."""

    def __init__(self, tables: Sequence[AbnormalSeries] = ()) -> None:
        self.tables = tuple(table for table in tables if len(table.p))
        sizes = [len(table.p) for table in self.tables]
        self._table = np.repeat(np.arange(len(sizes)), sizes)
        self._place = np.concatenate([np.empty(0, np.intp), *(np.arange(size) for size in sizes)])
        self._order = np.argsort(np.concatenate([np.empty(0), *(t.p for t in self.tables)]), kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> Anomaly: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Anomaly, ...]: ...
    def __getitem__(self, at: int | slice) -> Anomaly | tuple[Anomaly, ...]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        place = self._order[at]
        return self.tables[int(self._table[place])][int(self._place[place])]

    def counts(self) -> Mapping[str, int]:
        """How many, by signal."""
        found: Counter[str] = Counter()
        for table in self.tables:
            numbers = np.bincount(table.signal, minlength=len(table.signals))
            found.update({name: int(n) for name, n in zip(table.signals, numbers, strict=True) if n})
        return found
