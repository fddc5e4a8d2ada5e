"""The governor's own metrics, in a registry of their own.

Labels are knobs, codes and signals, never names of the mesh, so that their number does not grow with it.
"""

from __future__ import annotations

from collections import Counter as Counted
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
        self.registry = registry = CollectorRegistry()
        info = Gauge("governor_info", "1, with version and mode", ["version", "mode"], registry=registry)
        info.labels(version, mode).set(1)
        self.cycles = Counter("governor_cycles", "Cycles by outcome: ok, failed", ["outcome"], registry=registry)
        self.cycle_seconds = Histogram(
            "governor_cycle_seconds", "Length of one cycle", buckets=CYCLE_BUCKETS_S, registry=registry
        )
        self.last_cycle = Gauge(
            "governor_last_cycle_timestamp_seconds",
            "End of the last finished cycle, epoch",
            registry=registry,
        )
        self.schedule = Counter(
            "governor_schedule_events",
            "What the scheduler did not run as planned: error, missed, max_instances",
            ["event"],
            registry=registry,
        )
        self.proposals = Counter(
            "governor_proposals",
            "Changes proposed, by knob and reason code",
            ["knob", "code"],
            registry=registry,
        )
        self.held = Counter(
            "governor_held", "Changes held, by knob and the gate's code", ["knob", "code"], registry=registry
        )
        self.writes = Counter("governor_writes", "Writes the data plane has taken", ["knob"], registry=registry)
        self.verdicts = Counter(
            "governor_verdicts", "What became of writes, by code", ["code"], registry=registry
        )
        self.frame_age = Gauge(
            "governor_frame_age_seconds", "Age of the newest sample in the last frame", registry=registry
        )
        self.trust = Gauge(
            "governor_signal_trust",
            "Share of a signal that was there and fresh, 0..1",
            ["signal"],
            registry=registry,
        )
        self.gaps = Gauge("governor_gaps", "Values absent from the last frame", registry=registry)
        self.targets = Gauge(
            "governor_mesh_size", "What the last frame covers", ["of"], registry=registry
        )  # of: services, edges, backends, apis
        self.anomalies = Gauge(
            "governor_anomalies", "Signals abnormal in the last frame, by signal", ["signal"], registry=registry
        )
        self.victims = Gauge(
            "governor_victims", "Services that hurt only because they wait for another", registry=registry
        )
        self.forecasts = Gauge(
            "governor_forecasts", "Services with a load forecast, by what serves them", ["by"], registry=registry
        )
        self.model = Gauge(
            "governor_model_refused",
            "1 while the newest model cannot be used, or there is none",
            registry=registry,
        )
        self.serving = Gauge(
            "governor_model_info", "1, with the model in use (none: the baseline)", ["name"], registry=registry
        )
        for outcome in ("ok", "failed"):
            self.cycles.labels(outcome)
        for event in ("error", "missed", "max_instances"):
            self.schedule.labels(event)

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
        for signal, number in Counted(one.signal for one in found.diagnosis.anomalies).items():
            self.anomalies.labels(signal).set(number)
        self.victims.set(int(found.diagnosis.victim.sum()))
        gates = np.empty(0, np.int8) if found.forecast is None else found.forecast.gate
        for gate in Gate:
            self.forecasts.labels(gate.name.lower()).set(int((gates == gate).sum()))

    def models(self, trained: TrainedForecast | None, reason: str) -> None:
        """Note which model serves, and whether a newer one was refused for `reason`."""
        self.model.set(bool(reason))
        self.serving.clear()
        self.serving.labels("none" if trained is None else trained.name).set(1)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
