"""Leadership by a Lease, with fencing: a replica that cannot be sure that it leads does not write.

The holder's time runs from before its renewing request was sent, the others' from after they saw a renewal; both
on their own machine's clock, so that clocks need not agree. The holder stops `write_s` before the others may
begin. The clock goes on while the machine sleeps and while the process is stopped: who wakes up late is out.

Who finds no Lease makes one that nobody holds and waits for it to run out, as everybody else does: a leader whose
Lease was deleted by hand may still be writing. Source: Kubernetes, coordination.k8s.io/v1 Lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_errors import ObjectChanged, ObjectGone
from governor.adapters.kubernetes_objects import Body, Kind, Ref
from governor.adapters.kubernetes_ownership import MANAGER
from governor.errors import NotLeader
from governor.settings import LeadershipSettings

LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
NOBODY = "nobody"
"""Holder of a Lease that was made because there was none."""


def uptime() -> float:
    """Seconds of a clock that never goes back and counts the time that the machine sleeps, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Leases(Protocol):
    """Where the Lease is kept."""

    def get(self) -> Body | None:
        """The Lease, None if there is none; ControlPlaneError if that cannot be known."""

    def create(self, spec: Mapping[str, Any]) -> Body:
        """Make it; ObjectChanged if it is there already."""

    def replace(self, lease: Body, spec: Mapping[str, Any]) -> Body:
        """Give it another spec; ObjectChanged if it is no longer `lease`, ObjectGone if it was deleted."""


class KubernetesLeases:
    """One Lease of a Kubernetes API; `api` must not try again by itself, or an attempt lasts too long."""

    def __init__(self, api: KubernetesApi, namespace: str, name: str) -> None:
        self._api, self._ref = api, Ref(LEASE, namespace, name)

    def get(self) -> Body | None:
        """The Lease, None if there is none."""
        try:
            return self._api.get(self._ref)
        except ObjectGone:
            return None

    def create(self, spec: Mapping[str, Any]) -> Body:
        """Make it; ObjectGone if its namespace is not there."""
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
        return self._api.create(self._ref, {**_HEAD, "metadata": metadata, "spec": spec}, MANAGER)

    def replace(self, lease: Body, spec: Mapping[str, Any]) -> Body:
        """Give it another spec, if it is still of the resourceVersion that `lease` has."""
        return self._api.replace(self._ref, {**_HEAD, "metadata": lease["metadata"], "spec": spec}, MANAGER)


_HEAD = {"apiVersion": LEASE.api_version, "kind": LEASE.kind}


@dataclass(frozen=True)
class _Term:
    """One uninterrupted time of leading."""

    token: int
    until: float
    """Last moment at which a write may begin, on the elector's clock."""


class LeaseElector:
    """Leadership by a Lease; sought and renewed by `attempt`, or in a thread of its own after `start`.

    `identity` must be new for each process: a Lease in its name is taken for its own.
    """

    def __init__(
        self, leases: Leases, identity: str, settings: LeadershipSettings, clock: Callable[[], float] = uptime
    ) -> None:
        self._leases, self._identity, self._settings, self._clock = leases, identity, settings, clock
        self._term: _Term | None = None
        self._lease: Body | None = None
        """The Lease as this replica wrote it last; None once that may be out of date."""
        self._version = ""
        """resourceVersion of the Lease when last looked at."""
        self._since = clock()
        """When that version was first seen."""
        self._transitions = 0
        """The greatest number of a term seen so far."""
        self._why = "no attempt to lead has ended yet"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def held(self) -> bool:
        """Whether a write that begins now ends while no other replica can lead."""
        term = self._term
        return term is not None and self._clock() < term.until

    def token(self) -> int:
        """Number of the term (leaseTransitions of the Lease); NotLeader if it is not held."""
        term, now = self._term, self._clock()
        if term is None:
            raise NotLeader(f"this replica does not lead: {self._why}")
        if now >= term.until:
            raise NotLeader(
                f"this replica has not been sure for {now - term.until:.1f} s that it still leads: {self._why}"
            )
        return term.token

    def check(self) -> None:
        """NotLeader, with the reason, if leadership is not held."""
        self.token()

    def start(self) -> None:
        """Seek and renew leadership until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Hand leadership over; ControlPlaneError if the API server does not take it: the Lease runs out then."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        led, self._term = self._term is not None, None
        self._why = "it was handed over"
        lease = (self._lease or self._look()) if led else None
        if lease is not None and self._is_mine(lease):
            self._lease = None
            self._leases.replace(lease, {**lease["spec"], "holderIdentity": "", "renewTime": _now()})

    def attempt(self) -> None:
        """Acquire or renew once, if it can be had; a failure is told by `check` when it begins to matter."""
        try:
            self._seek()
        except Exception as error:  # noqa: BLE001 - whatever it is, the term runs out and `check` says why
            self._why = str(error) or repr(error)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.attempt()
            self._stop.wait(self._settings.retry_period_s)

    def _seek(self, *, again: bool = True) -> None:
        lease = self._lease or self._look()
        if lease is None:
            self._term = None
            nobody = {"holderIdentity": NOBODY, "leaseTransitions": self._transitions, "renewTime": _now()}
            self._note(self._leases.create({**nobody, "leaseDurationSeconds": self._settings.lease_duration_s}))
            self._why = "there was no Lease: if there was a leader, it must have time to notice"
            return
        spec = lease["spec"]
        holder = spec.get("holderIdentity")
        promised = spec.get("leaseDurationSeconds") or self._settings.lease_duration_s
        if holder and not self._is_mine(lease) and self._clock() - self._since < promised:
            self._term = None
            self._why = f"the Lease is held by {holder}"
            return
        try:
            self._take(lease)
        except (ObjectChanged, ObjectGone):
            if not again:
                raise
            self._seek(again=False)

    def _is_mine(self, lease: Body) -> bool:
        return bool(lease["spec"].get("holderIdentity") == self._identity)

    def _look(self) -> Body | None:
        lease = self._leases.get()
        if lease is not None:
            self._note(lease)
        return lease

    def _note(self, lease: Body) -> None:
        version = str(lease["metadata"]["resourceVersion"])
        if version != self._version:
            # Now, and not when it was asked for: the renewal may have come in between.
            self._version, self._since = version, self._clock()
        self._transitions = max(self._transitions, int(lease["spec"].get("leaseTransitions") or 0))

    def _take(self, lease: Body) -> None:
        """Write this replica into the Lease: renew the term, or begin a new one."""
        sent, term, old = self._clock(), self._term, lease["spec"]
        if term is not None and sent < term.until and self._is_mine(lease):
            token, begun = term.token, old.get("acquireTime", _now())
        else:
            token, begun = self._transitions + 1, _now()
        spec = {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._settings.lease_duration_s,
            "leaseTransitions": token,
            "acquireTime": begun,
            "renewTime": _now(),
        }
        # Whether it arrives or not: what was known of the Lease is out of date from here on.
        self._lease = None
        self._lease = self._leases.replace(lease, spec)
        self._transitions = token
        self._term = _Term(token, sent + self._settings.renew_deadline_s)


def _now() -> str:
    """For people who look at the Lease: no replica compares it with its own clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class LeaderSeen:
    """What a Lease says of its leader."""

    ago_s: float
    """Since it was last renewed, or handed over, by the leader's clock."""
    holds: bool
    """It was not handed over."""


def leader_seen(lease: Body, now: datetime) -> LeaderSeen | None:
    """None if nobody ever held the lease."""
    spec = lease.get("spec") or {}
    if spec.get("holderIdentity") == NOBODY or not spec.get("renewTime"):
        return None
    ago_s = (now - datetime.fromisoformat(str(spec["renewTime"]))).total_seconds()
    return LeaderSeen(ago_s, bool(spec.get("holderIdentity")))
