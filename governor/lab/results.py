"""What the clients saw: every request with its intended time, class, outcome and latency."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from governor.errors import LabError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Outcome(IntEnum):
    """How a request ended for its client, after its own retries."""

    OK = 0
    REJECTED_429 = 1
    REJECTED_503 = 2
    TIMEOUT = 3
    """The client's patience ended, or Envoy answered 504."""
    ERROR = 4


@dataclass(frozen=True)
class LoadResult:
    """All requests of one run, as parallel arrays; times in s from the start of the run.

    Latency counts from the time a request was meant to be sent, so that a stall is seen by all
    requests it delays. Bins are seconds of that intended time.
    """

    class_names: tuple[str, ...]
    duration_s: float
    slo_s: float
    timeout_s: float
    intended: Floats
    klass: NDArray[np.int8]
    outcome: NDArray[np.int8]
    latency: NDArray[np.float32]
    attempts: NDArray[np.int16]

    @property
    def seconds(self) -> int:
        """Number of one-second bins."""
        return int(np.ceil(self.duration_s - 1e-9))

    @cached_property
    def within_slo(self) -> NDArray[np.bool_]:
        """Requests answered well within the SLO's latency."""
        in_time = np.less_equal(self.latency, self.slo_s)
        return np.logical_and(in_time, np.equal(self.outcome, Outcome.OK))

    @cached_property
    def offered(self) -> dict[str, Counts]:
        """Requests clients meant to send, per class and second."""
        return self._binned(np.ones(len(self.intended), dtype=bool))

    @cached_property
    def sent(self) -> dict[str, Counts]:
        """Attempts including the clients' own retries, by the intended second of the request."""
        return self._binned(np.ones(len(self.intended), dtype=bool), self.attempts)

    @cached_property
    def ok(self) -> dict[str, Counts]:
        """Answered well, however late."""
        return self._binned(self.outcome == Outcome.OK)

    @cached_property
    def ok_within_slo(self) -> dict[str, Counts]:
        """Answered well within the SLO."""
        return self._binned(self.within_slo)

    @cached_property
    def rejected_429(self) -> dict[str, Counts]:
        """Turned away by a rate limit or by shedding."""
        return self._binned(self.outcome == Outcome.REJECTED_429)

    @cached_property
    def rejected_503(self) -> dict[str, Counts]:
        """Turned away by an in-flight cap, a full queue or a failing service."""
        return self._binned(self.outcome == Outcome.REJECTED_503)

    @cached_property
    def timeouts(self) -> dict[str, Counts]:
        """Given up by the client or by Envoy."""
        return self._binned(self.outcome == Outcome.TIMEOUT)

    @cached_property
    def errors(self) -> dict[str, Counts]:
        """Anything else: other statuses, lost connections."""
        return self._binned(self.outcome == Outcome.ERROR)

    def goodput(self, start_s: float, end_s: float, api: str | None = None) -> float:
        """Requests/s answered well within the SLO, of those meant for [start_s, end_s)."""
        chosen = self._chosen(start_s, end_s, api)
        return float(np.count_nonzero(self.within_slo & chosen)) / (end_s - start_s)

    def success(self, start_s: float, end_s: float, api: str | None = None, *, in_slo: bool = False) -> float:
        """Share of requests answered well (with `in_slo`: in time); NaN if there were none."""
        chosen = self._chosen(start_s, end_s, api)
        good = self.within_slo if in_slo else self.outcome == Outcome.OK
        total = np.count_nonzero(chosen)
        return float(np.count_nonzero(good & chosen)) / total if total else float("nan")

    def latency_quantile(
        self,
        q: float,
        start_s: float,
        end_s: float,
        failures_as: float | None = None,
        api: str | None = None,
        *,
        survivors_only: bool = False,
    ) -> float:
        """Quantile of latency in s; a failure counts as `failures_as` (default: the SLO's timeout).

        A late success keeps its own latency. NaN if there were no requests.
        """
        chosen = self._chosen(start_s, end_s, api)
        good = self.outcome == Outcome.OK
        if survivors_only:
            chosen = chosen & good
        if not chosen.any():
            return float("nan")
        penalty = self.timeout_s if failures_as is None else failures_as
        latencies = np.where(good, self.latency, np.float32(penalty))[chosen]
        return float(np.quantile(latencies, q))

    def save(self, path: Path) -> None:
        """Write as .npz."""
        np.savez_compressed(
            path,
            class_names=np.array(self.class_names),
            scalars=np.array([self.duration_s, self.slo_s, self.timeout_s]),
            intended=self.intended,
            klass=self.klass,
            outcome=self.outcome,
            latency=self.latency,
            attempts=self.attempts,
        )

    @classmethod
    def load(cls, path: Path) -> LoadResult:
        """Read what `save` wrote; LabError if it is not that."""
        try:
            with np.load(path, allow_pickle=False) as data:
                duration_s, slo_s, timeout_s = (float(value) for value in data["scalars"])
                return cls(
                    tuple(str(name) for name in data["class_names"]),
                    duration_s,
                    slo_s,
                    timeout_s,
                    *(data[n] for n in ("intended", "klass", "outcome", "latency", "attempts")),
                )
        except (OSError, KeyError, ValueError) as error:
            raise LabError(f"{path}: cannot be read as a load result: {error}") from error

    def _chosen(self, start_s: float, end_s: float, api: str | None) -> NDArray[np.bool_]:
        chosen = (self.intended >= start_s) & (self.intended < end_s)
        if api is not None:
            if api not in self.class_names:
                known = ", ".join(self.class_names)
                raise LabError(f"no API class {api!r} in this result (there are {known})")
            chosen &= self.klass == self.class_names.index(api)
        return chosen

    def _binned(self, mask: NDArray[np.bool_], weights: NDArray[np.int16] | None = None) -> dict[str, Counts]:
        seconds = self.intended.astype(np.int64)
        bins = {}
        for number, name in enumerate(self.class_names):
            chosen = mask & (self.klass == number)
            counted = np.bincount(
                seconds[chosen],
                weights=None if weights is None else weights[chosen],
                minlength=self.seconds,
            )
            bins[name] = counted.astype(np.int64)
        return bins
