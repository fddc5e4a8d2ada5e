"""One replica for test_leadership.py: seeks the Lease, and while it may, writes one ConfigMap as fast as it can.

Arguments: kubeconfig for reading, kubeconfig for writing and for the Lease, namespace, name, file for the log. A
line of the log is one write that the API server took: when it was begun and answered (one clock for all processes
of the machine), the token of the term, and the resourceVersion that it made; or one that failed, and why.
The first line says that the Lease was looked at. SIGTERM hands it over.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from governor.adapters.kubernetes_api import KubernetesApi, RateBudget
from governor.adapters.kubernetes_client import api_client
from governor.adapters.kubernetes_lease import KubernetesLeases, LeaseElector, uptime
from governor.adapters.kubernetes_objects import CONFIG_MAP, Ref
from governor.errors import ControlPlaneError, NotLeader
from governor.settings import LeadershipSettings

TERMS = LeadershipSettings(lease_duration_s=3, renew_deadline_s=2.0, retry_period_s=0.3)
PAUSE_S = 0.02


def write(
    reads: KubernetesApi, writes: KubernetesApi, leadership: LeaseElector, target: Ref, name: str
) -> dict[str, object]:
    """One write as the governor makes them: read, ask whether it leads, write what was read and nothing else."""
    now = reads.get(target)
    version = now["metadata"]["resourceVersion"]
    token, begun = leadership.token(), uptime()
    after = writes.patch(
        target,
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/data", "value": {"by": name, "at": f"{begun:.6f}"}},
        ],
        "test",
    )
    made = int(after["metadata"]["resourceVersion"])
    return {"by": name, "begun": begun, "answered": uptime(), "token": token, "version": made}


def main(direct: str, way: str, namespace: str, name: str, log: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    reads, writes = (KubernetesApi(api_client(Path(p)), RateBudget(1000.0, 1000), tries=1) for p in (direct, way))
    seeking = KubernetesApi(api_client(Path(way)), timeout_s=(TERMS.write_s / 2, TERMS.write_s / 2), tries=1)
    leadership = LeaseElector(KubernetesLeases(seeking, namespace, "lease"), name, TERMS)
    leadership.attempt()
    leadership.start()
    with Path(log).open("w", buffering=1, encoding="utf-8") as file:
        file.write(json.dumps({"by": name, "looked": uptime()}) + "\n")
        while not stop.wait(PAUSE_S):
            try:
                row = write(reads, writes, leadership, Ref(CONFIG_MAP, namespace, "written"), name)
            except NotLeader:
                continue
            except ControlPlaneError as error:
                row = {"by": name, "failed": str(error)}
            file.write(json.dumps(row) + "\n")
    with suppress(ControlPlaneError):  # the test looks at who leads next, and when
        leadership.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
