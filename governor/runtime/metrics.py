"""The governor's own metrics, in a registry of their own.

Labels are knobs, codes and signals, never names of the mesh, so that their number does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from governor.guard.held import HeldKind
from governor.knobs import Proposal, Receipt
from governor.learned import Learned
from governor.predict.gate import Gate
from governor.predict.model import TrainedForecast
from governor.reasons import Reason

CYCLE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class GovernorMetrics:
    """Counters and gauges of one instance."""

    def __init__(self, version: str, mode: str) -> None:
        self.registry = CollectorRegistry()
        self._gauge("info", "1, with version and mode", "version", "mode").labels(version, mode).set(1)
        self._of_cycles()
        self._of_decisions()
        self._of_frames()
        self._of_learning()

    def _of_cycles(self) -> None:
        self.cycles = self._counter("cycles", "Cycles by outcome: ok, failed", "outcome")
        early = "Turns between two cycles, because a backend turned slow or fails"
        self.early = self._counter("early_turns", early)
        self.cycle_seconds = Histogram(
            "governor_cycle_seconds", "Length of one cycle", buckets=CYCLE_BUCKETS_S, registry=self.registry
        )
        self.last_cycle = self._gauge("last_cycle_timestamp_seconds", "End of the last finished cycle, epoch")
        planned = "What the scheduler did not run as planned: error, missed, max_instances"
        self.schedule = self._counter("schedule_events", planned, "event")
        self.leader = self._gauge("leader", "1 while this replica holds the lease, 0 while it follows")
        for outcome in ("ok", "failed"):
            self.cycles.labels(outcome)
        for event in ("error", "missed", "max_instances"):
            self.schedule.labels(event)

    def _of_decisions(self) -> None:
        self.proposals = self._counter("proposals", "Changes proposed, by knob and reason code", "knob", "code")
        self.held = self._counter("held", "Changes held, by knob and the gate's code", "knob", "code")
        self.writes = self._counter("writes", "Writes the data plane has taken", "knob")
        self.verdicts = self._counter("verdicts", "What became of writes, by code", "code")

    def _of_frames(self) -> None:
        self.frame_age = self._gauge("frame_age_seconds", "Age of the newest sample in the last frame")
        self.trust = self._gauge("signal_trust", "Share of a signal that was there and fresh, 0..1", "signal")
        self.gaps = self._gauge("gaps", "Values absent from the last frame")
        # of: services, edges, backends, apis
        self.targets = self._gauge("mesh_size", "What the last frame covers", "of")

    def _of_learning(self) -> None:
        self.anomalies = self._gauge("anomalies", "Signals abnormal in the last frame, by signal", "signal")
        self.victims = self._gauge("victims", "Services that hurt only because they wait for another")
        self.forecasts = self._gauge("forecasts", "Services with a load forecast, by what serves them", "by")
        self.refused = self._gauge("model_refused", "1 while the newest model cannot be used, or there is none")
        self.serving = self._gauge("model_info", "1, with the model in use (none: the baseline)", "name")

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"governor_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"governor_{name}", what, labels, registry=self.registry)

    def decided(
        self,
        go: Iterable[Proposal],
        held: Mapping[HeldKind, int],
        receipts: Iterable[Receipt],
        verdicts: Iterable[Reason],
    ) -> None:
        """Count one cycle's decisions."""
        for proposal in go:
            self.proposals.labels(proposal.knob.value, proposal.reason.code).inc()
        for kind, number in held.items():
            self.proposals.labels(kind.knob.value, kind.reason.code).inc(number)
            self.held.labels(kind.knob.value, kind.gate.code).inc(number)
        for receipt in receipts:
            self.writes.labels(receipt.knob.value).inc()
        for reason in verdicts:
            self.verdicts.labels(reason.code).inc()

    def framed(self, age_s: float, trust: Mapping[str, float], gaps: int, sizes: Mapping[str, int]) -> None:
        """Note what the last frame was like."""
        self.frame_age.set(age_s)
        self.gaps.set(gaps)
        for signal, share in trust.items():
            self.trust.labels(signal).set(share)
        for what, size in sizes.items():
            self.targets.labels(what).set(size)

    def learned(self, found: Learned) -> None:
        """Note what detection and prediction said of the last frame."""
        self.anomalies.clear()
        for signal, number in found.diagnosis.anomalies.counts().items():
            self.anomalies.labels(signal).set(number)
        self.victims.set(int(found.diagnosis.victim.sum()))
        gates = np.empty(0, np.int8) if found.forecast is None else found.forecast.gate
        for gate in Gate:
            self.forecasts.labels(gate.name.lower()).set(int((gates == gate).sum()))

    def models(self, trained: TrainedForecast | None, reason: str) -> None:
        """Note which model serves, and whether a newer one was refused for `reason`."""
        self.refused.set(bool(reason))
        self.serving.clear()
        self.serving.labels("none" if trained is None else trained.name).set(1)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
