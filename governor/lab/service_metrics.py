"""The services' own metrics and controls over HTTP.

GET /metrics    Prometheus text, named as cAdvisor, kube-state-metrics and OpenTelemetry name them
POST /faults    {"start": monotonic seconds, "actions": [...]}: fault actions on a time line
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from governor.lab.service_plan import FaultAction

if TYPE_CHECKING:
    from governor.lab.service import Mesh, ReplicaServer

NAMESPACE = "lab"


class MetricsServer:
    """Serves one HTTP request a connection; rare enough to be simple."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def serve(self) -> None:
        """Listen on the metrics port."""
        plan = self._mesh.plan
        await asyncio.start_server(self._handle, plan.address, plan.metrics_port)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, body = await self._respond(head, reader)
            kind = "text/plain; version=0.0.4; charset=utf-8"
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the asker went away
        finally:
            writer.close()

    async def _respond(self, head: str, reader: asyncio.StreamReader) -> tuple[str, bytes]:
        method, path, _ = head.split(" ", 2)
        if (method, path) == ("GET", "/metrics"):
            for replica in self._mesh.replicas:
                replica.bring_up_to_date()
            return "200 OK", render(self._mesh.replicas).encode()
        if (method, path) == ("POST", "/faults"):
            lengths = [
                int(line.split(":", 1)[1])
                for line in head.split("\r\n")
                if line.lower().startswith("content-length:")
            ]
            asked = json.loads(await reader.readexactly(lengths[0] if lengths else 0))
            actions = [FaultAction(**action) for action in asked["actions"]]
            self._mesh.schedule(actions, asked["start"])
            return "200 OK", b"ok\n"
        return "404 Not Found", b"GET /metrics or POST /faults\n"


def render(replicas: list[ReplicaServer]) -> str:
    """Prometheus text, one series a replica.

    CPU: one worker stands for one core, so usage is busy worker seconds, and the limit is the
    number of workers as configured, which a noisy neighbour does not change.
    """
    lines: list[str] = []

    def family(name: str, kind: str, text: str) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))

    family("container_cpu_usage_seconds_total", "counter", "Busy worker seconds.")
    for replica in replicas:
        labels = _pod_labels(replica)
        busy = replica.queue.busy_seconds()
        lines.append(f"container_cpu_usage_seconds_total{{{labels}}} {busy:.6f}")
    family("kube_pod_container_resource_limits", "gauge", "Workers as configured.")
    for replica in replicas:
        labels = f'resource="cpu",unit="core",{_pod_labels(replica)}'
        lines.append(f"kube_pod_container_resource_limits{{{labels}}} {replica.plan.workers}")
    name = "http_server_request_duration_seconds"
    family(name, "summary", "Requests whose work was done, with queueing and calls.")
    for replica in replicas:
        labels = _service_labels(replica)
        lines.append(f"{name}_count{{{labels}}} {replica.counters.completed}")
        lines.append(f"{name}_sum{{{labels}}} {replica.counters.duration_s:.6f}")
    for name, field, text in (
        ("lab_requests_wasted_total", "wasted", "Work done for callers that had gone."),
        ("lab_requests_refused_total", "refused", "Refused at once: the queue was full."),
        ("lab_requests_failed_total", "failed", "Failed at once: a fault of the replica."),
    ):
        family(name, "counter", text)
        lines.extend(
            f"{name}{{{_service_labels(replica)}}} {getattr(replica.counters, field)}" for replica in replicas
        )
    family("lab_queue_length", "gauge", "Requests waiting for a worker.")
    lines.extend(
        f"lab_queue_length{{{_service_labels(replica)}}} {replica.queue.waiting}" for replica in replicas
    )
    return "\n".join(lines) + "\n"


def _pod_labels(replica: ReplicaServer) -> str:
    plan = replica.plan
    return f'namespace="{NAMESPACE}",pod="{plan.pod}",container="{plan.service}"'


def _service_labels(replica: ReplicaServer) -> str:
    return f'service="{replica.plan.service}",pod="{replica.plan.pod}"'
