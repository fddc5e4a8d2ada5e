"""`governor release`: give everything that the governor has changed in a cluster back to its owners."""

from __future__ import annotations

from pathlib import Path

from governor.commands.output import ERROR, NOTHING, settings_for, show, warn
from governor.runtime.wiring import kubernetes_plane, leader_seen_s


def release(config: Path | None, if_leader_gone_for_s: float | None) -> int:
    """Put back what stood there before, as the before-images in the cluster say.

    With `if_leader_gone_for_s` only if no leader has been seen for so long: for a job that runs beside the
    governor, so that a governor that is gone does not leave its decisions behind.
    """
    settings = settings_for(config)
    if settings.plane.kind != "kubernetes":
        warn("release gives back what was changed in a Kubernetes cluster: set plane.kind: kubernetes")
        return ERROR
    if if_leader_gone_for_s is not None:
        age_s = leader_seen_s(settings)
        if age_s is not None and age_s < if_leader_gone_for_s:
            show(f"The leader was seen {age_s:.0f} s ago: nothing is given back.")
            return NOTHING
    notes = kubernetes_plane(settings).release()
    show("\n".join(notes) if notes else "Nothing of the governor's is in this cluster.")
    return NOTHING
