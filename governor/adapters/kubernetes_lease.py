"""Leadership by a Lease, with a fence of our own: of several replicas at most one writes.

A holder may write until `renew_deadline_s` after it sent the last request that renewed its lease, by a clock that
goes on while the process is stopped or the machine sleeps: a replica that wakes up late finds itself out before
it writes, whatever its thread of renewal still believes. Another's lease is over when its record has not changed
for `lease_duration_s` by the observer's own clock, so that clocks need not agree. Writes that were under way when
the lease ran out are caught by the resourceVersion that each of them carries.
Sources: Kubernetes API, coordination.k8s.io/v1 Lease; client-go, leaderelection (what a candidate may conclude).
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_objects import Body, Kind, Ref
from governor.errors import ControlPlaneError, NotLeader

log = structlog.get_logger("governor")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
MANAGER = "mesh-governor-lease"


class Leases(Protocol):
    """The API, as far as leases need it."""

    def get(self, ref: Ref) -> Body:
        """The object; ObjectGone if there is none."""

    def create(self, ref: Ref, body: Body, manager: str) -> Body:
        """Make it; ObjectChanged if there is one."""

    def replace(self, ref: Ref, body: Body, manager: str) -> Body:
        """Put `body` in its place; ObjectChanged unless its resourceVersion is the present one."""


def boot_time() -> float:
    """Seconds that go on while the process is stopped and while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True)
class LeaseTimes:
    """How long a lease holds and how it is renewed, in seconds."""

    lease_duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    """A holder stops writing when it has not renewed for so long, well before anybody else may begin."""
    retry_period_s: float = 2.0


class LeaseElector:
    """One candidate. `step` does one round; `start` runs rounds in a thread until `close`."""

    def __init__(
        self,
        leases: Leases,
        ref: Ref,
        identity: str,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._leases, self._ref, self._identity, self._clock = leases, ref, identity, clock
        self._times = times or LeaseTimes()
        self._until = float("-inf")
        """The lease may be relied on before this moment."""
        self._seen: tuple[str, str, int] | None = None
        self._seen_at = clock()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.transitions = 0
        """The lease's number of changes of holder when it was last taken: grows with each leader."""

    def held(self) -> bool:
        """Whether this replica may write now."""
        return self._clock() < self._until

    def check(self) -> None:
        """Do nothing if this replica may write now; NotLeader if not."""
        left = self._until - self._clock()
        if left <= 0:
            raise NotLeader(f"{self._identity} does not hold {self._ref}; nothing was written")

    def start(self) -> None:
        """Take part until `close`."""
        self._thread = threading.Thread(target=self._rounds, name="lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and let go of the lease so that another can take it at once."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            held, self._until = self.held(), float("-inf")
            if held:
                self._release()

    def step(self) -> None:
        """One round: renew, take what is free, or look at who has it. ControlPlaneError if the API fails."""
        with self._lock:
            sent = self._clock()
            try:
                found = self._leases.get(self._ref)
            except ObjectGone:
                self._won(self._leases.create(self._ref, self._record(None, None), MANAGER), sent)
                return
            spec = found.get("spec") or {}
            self._observe(spec)
            holder = spec.get("holderIdentity") or ""
            if holder == self._identity or not holder or self._over(spec):
                self._won(self._leases.replace(self._ref, self._record(found, holder), MANAGER), sent)
            else:
                self._until = float("-inf")

    def _observe(self, spec: Mapping[str, Any]) -> None:
        record = (
            str(spec.get("holderIdentity")),
            str(spec.get("renewTime")),
            int(spec.get("leaseTransitions") or 0),
        )
        if record != self._seen:
            self._seen, self._seen_at = record, self._clock()

    def _over(self, spec: Mapping[str, Any]) -> bool:
        """Whether the holder has had its time, by our own clock since we saw its last sign of life."""
        lasts = max(float(spec.get("leaseDurationSeconds") or 0), self._times.lease_duration_s)
        return self._clock() - self._seen_at > lasts

    def _won(self, found: Body, sent: float) -> None:
        self._observe(found["spec"])
        if not self.held():
            log.info("this replica leads", identity=self._identity, lease=str(self._ref))
        self.transitions = int(found["spec"].get("leaseTransitions") or 0)
        self._until = sent + self._times.renew_deadline_s

    def _record(self, found: Body | None, holder: str | None) -> dict[str, Any]:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        before = dict((found or {}).get("spec") or {})
        spec = {
            **before,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._times.lease_duration_s),
            "renewTime": now,
        }
        if holder != self._identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(before.get("leaseTransitions") or 0) + (0 if found is None else 1)
        return self._body(found, spec)

    def _body(self, found: Body | None, spec: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
        if found is not None:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": dict(spec)}

    def _release(self) -> None:
        try:
            found = self._leases.get(self._ref)
            if (found.get("spec") or {}).get("holderIdentity") == self._identity:
                spec = {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                self._leases.replace(self._ref, self._body(found, spec), MANAGER)
        except ControlPlaneError as error:
            log.warning("the lease could not be released, it runs out by itself", error=str(error))

    def _rounds(self) -> None:
        led = False
        while not self._stop.is_set():
            try:
                self.step()
            except ObjectChanged:
                pass  # another was faster: the next round looks at what it did
            except ControlPlaneError as error:
                log.warning("the lease could not be looked at, the next round tries again", error=str(error))
            if led and not self.held():
                log.warning("this replica no longer leads", identity=self._identity)
            led = self.held()
            self._stop.wait(self._times.retry_period_s)


def seen_ago_s(lease: Body, now: dt.datetime) -> float | None:
    """Seconds since the lease was last renewed by its holder's clock; None if it never was, or was let go."""
    spec = lease.get("spec") or {}
    renewed = spec.get("renewTime")
    if not renewed:
        return None
    return (now - dt.datetime.fromisoformat(str(renewed))).total_seconds()
