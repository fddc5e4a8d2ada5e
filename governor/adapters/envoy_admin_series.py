"""Which series of a page mean what: each is looked at once, later pages cost one dictionary look-up a line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from governor.adapters.dialects import dialect
from governor.adapters.envoy_admin_names import service_of_pod
from governor.adapters.envoy_admin_proxy import Proxy
from governor.adapters.exposition import parse_key, sample_lines
from governor.errors import SourceRefused
from governor.observe.index import EdgeName

Floats = NDArray[np.float64]
IGNORED = -1


class Series(NamedTuple):
    """One series that is read: `subject` names the row of `table` that it belongs to."""

    table: str
    signal: str
    kind: str
    subject: tuple[str, ...]
    bound: float
    """Upper bound of a histogram bucket; 0 for others."""


class SeriesBook:
    """Slots for the series of one page; they only ever grow, so that old samples stay readable."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._slots: dict[str, int] = {}
        self.series: list[Series] = []
        self.proxy = Proxy()
        """Whose page it is; set before the first is read."""
        self.edges: dict[str, EdgeName] = {}
        """Every edge that a series belongs to."""

    def read(self, text: str) -> Floats:
        """Values of one page by slot, NaN where the page has none; SourceRefused if it is not metrics."""
        known = self._slots
        slots: list[int] = []
        numbers: list[str] = []
        for key, number in sample_lines(text, self._source):
            slot = known.get(key)
            if slot is None:
                slot = self._learn(key)
            if slot != IGNORED:
                slots.append(slot)
                numbers.append(number)
        values = np.full(len(self.series), np.nan)
        try:
            values[slots] = [float(number) for number in numbers]
        except ValueError as error:
            raise SourceRefused(f"{self._source} does not answer with metrics: {error}") from error
        return values

    def _learn(self, key: str) -> int:
        name, labels = parse_key(key, self._source)
        found = self._series(name, labels)
        slot = IGNORED
        if found is not None:
            slot = len(self.series)
            self.series.append(found)
        self._slots[key] = slot
        return slot

    def _series(self, name: str, labels: dict[str, str]) -> Series | None:
        table = dialect("admin")
        meaning = table["metrics"].get(name)
        if meaning is None:
            return None
        only = meaning.get("only")
        if only and labels.get(only[0]) != only[1]:
            return None
        subject = self._subject(meaning["table"], labels, table["labels"][meaning["table"]])
        # An edge's members are those of the whole of it; its subsets have them once more.
        if subject is None or (meaning["signal"] == "members" and len(subject) > 1):
            return None
        bound = float(labels.get("le", "0").replace("+Inf", "inf"))
        return Series(meaning["table"], meaning["signal"], meaning["kind"], subject, bound)

    def _subject(self, table: str, labels: dict[str, str], wanted: list[str]) -> tuple[str, ...] | None:
        """What names the row, for a subset's cluster with the subset; None if the series is nobody's."""
        found = [next((labels[n] for n in names.split("|") if labels.get(n)), "") for names in wanted]
        if table == "service":
            service, pod = found
            if service == "POD" or not (service or pod):  # the pause container does no work
                return None
            return (service or service_of_pod(pod), pod)
        if not all(found):
            return None
        if table in {"edge", "backend"}:
            owner = self.proxy.owner(found[0])
            if owner is None:
                return None
            self.edges[owner.edge.name] = owner.edge
            rest = found[1:] if table == "backend" or owner.subset is None else [owner.subset]
            return (owner.edge.name, *rest)
        return tuple(found)
