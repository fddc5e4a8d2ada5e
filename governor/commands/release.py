"""`governor release`: give everything that the governor has changed in a cluster back to its owners."""

from __future__ import annotations

from pathlib import Path

from governor.commands.output import ERROR, FOUND, NOTHING, settings_for, show, warn
from governor.runtime.wiring import kubernetes_plane, last_leader
from governor.settings import Settings


def release(config: Path | None, if_leader_gone_for_s: float | None) -> int:
    """Put back what stood there before, as the before-images in the cluster say.

    With `if_leader_gone_for_s` only if no leader has been seen for so long: for a job that runs beside the
    governor, so that a governor that is gone does not leave its decisions behind. Exit code 1 if a leader that is
    still there may write again.
    """
    settings = settings_for(config)
    if settings.plane.kind != "kubernetes":
        warn("release gives back what was changed in a Kubernetes cluster: set plane.kind: kubernetes")
        return ERROR
    if if_leader_gone_for_s is not None:
        leader = last_leader(settings)
        if leader is not None and leader.ago_s < if_leader_gone_for_s:
            show(f"The leader was seen {leader.ago_s:.0f} s ago: nothing is given back.")
            return NOTHING
    notes = kubernetes_plane(settings).release()
    show("\n".join(notes) if notes else "Nothing of the governor's is in this cluster.")
    return NOTHING if if_leader_gone_for_s is not None else _nobody_writes_again(settings)


def _nobody_writes_again(settings: Settings) -> int:
    """FOUND, with a warning, if a leader is at work: what was given back is governed again soon."""
    leader = last_leader(settings)
    if leader is None or not leader.holds or leader.ago_s >= settings.leadership.lease_duration_s:
        return NOTHING
    namespace = settings.plane.kubernetes.namespace
    warn(
        f"a leader is at work (its Lease is {leader.ago_s:.0f} s old) and governs again from its next cycle on. "
        f"To stop it: kubectl -n {namespace} scale deploy/mesh-governor --replicas 0; then release again"
    )
    return FOUND
