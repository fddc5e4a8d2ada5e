"""From settings to the real parts: source, control plane, ledger."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governor.errors import DocumentError
from governor.ports import ControlPlane, Ledger, MetricSource, ModelStore
from governor.predict.demand import KEPT_S
from governor.runtime.learning import Past
from governor.runtime.options import STEP_S
from governor.settings import KubernetesSettings, Settings

if TYPE_CHECKING:
    from governor.adapters.kubernetes_api import KubernetesApi
    from governor.adapters.kubernetes_lease import LeaderSeen, LeaseElector
    from governor.adapters.kubernetes_plane import KubernetesControlPlane
    from governor.adapters.prometheus import PrometheusSource


def source_of(settings: Settings) -> MetricSource:
    """The metric source that `settings.source` names; DocumentError if its address is missing."""
    if settings.source.kind == "envoy":
        return _envoy_source(settings)
    return prometheus_source(settings)


def models_of(settings: Settings) -> ModelStore:
    """The models that `settings.models` names, or those that come with the governor."""
    from governor.adapters.model_store import DirectoryModelStore, shipped

    return DirectoryModelStore(shipped() if settings.models is None else settings.models)


def past_of(settings: Settings) -> Callable[[], Past] | None:
    """Fetches the load of before the start, from a connection of its own; None where the source keeps none."""
    if settings.source.kind != "prometheus":
        return None

    def fetch() -> Past:
        with closing(prometheus_source(settings)) as source:
            return source.history(KEPT_S, STEP_S)

    return fetch


def _envoy_source(settings: Settings) -> MetricSource:
    envoy = settings.source.envoy
    if not envoy.admin_urls:
        raise DocumentError(
            "source.envoy.admin_urls is empty: name at least one Envoy admin address "
            "(--envoy-admin http://127.0.0.1:9901, or GOVERNOR_SOURCE__ENVOY__ADMIN_URLS)"
        )
    from governor.adapters.envoy_admin import EnvoyAdminSource

    return EnvoyAdminSource(
        [str(u).rstrip("/") for u in envoy.admin_urls],
        [str(u).rstrip("/") for u in envoy.workload_urls],
        timeout_s=envoy.timeout_s,
    )


def prometheus_source(settings: Settings) -> PrometheusSource:
    """The Prometheus that `settings.source.prometheus` names; DocumentError if its address is missing."""
    asked = settings.source.prometheus
    if asked.url is None:
        raise DocumentError(
            "source.prometheus.url is not set: name your Prometheus "
            "(--source-url http://127.0.0.1:9090, or GOVERNOR_SOURCE__PROMETHEUS__URL)"
        )
    from governor.adapters.prometheus import PrometheusOptions, PrometheusSource

    token = asked.bearer_token.get_secret_value() if asked.bearer_token else None
    return PrometheusSource(
        PrometheusOptions(
            url=str(asked.url).rstrip("/"),
            dialect=asked.dialect,
            timeout_s=asked.timeout_s,
            bearer_token=token,
            bearer_token_file=asked.bearer_token_file,
            ca_file=asked.ca_file,
            insecure_skip_verify=asked.insecure_skip_verify,
            headers=asked.headers,
        )
    )


def recording_source(path: Path) -> MetricSource:
    """Frames from a recording, oldest first; SourceError if there is none at `path`."""
    from governor.adapters.recording import RecordingSource

    return RecordingSource(path)


def plane_of(settings: Settings, fence: Callable[[], None] = lambda: None) -> ControlPlane | None:
    """The control plane that `settings.plane` names, or None; `fence` is called before writes to a cluster."""
    plane = settings.plane
    if plane.kind == "kubernetes":
        return kubernetes_plane(settings, fence)
    if plane.kind == "none" or plane.directory is None or plane.admin_url is None:
        return None
    from governor.adapters.envoy_files import EnvoyFilesControlPlane

    return EnvoyFilesControlPlane(plane.directory, str(plane.admin_url).rstrip("/"))


def kubernetes_plane(settings: Settings, fence: Callable[[], None] = lambda: None) -> KubernetesControlPlane:
    """The meshes of the cluster that `settings` name; `fence` raises if nothing may be written."""
    from governor.adapters.kubernetes_events import KubernetesEvents
    from governor.adapters.kubernetes_plane import KubernetesControlPlane, PlaneOptions
    from governor.adapters.meshes.known import meshes_called

    given = settings.plane.kubernetes
    # Only a replica of several must be done with a write before another may lead.
    write_s = settings.leadership.write_s if settings.leadership.enabled else None
    api = kubernetes_api(given, fence=fence, write_s=write_s)
    options = PlaneOptions(
        meshes_called(given.meshes), given.namespace, given.namespaces, given.confirm_s, bool(given.meshes)
    )
    events = KubernetesEvents(api, _identity())
    return KubernetesControlPlane(api, options, events.tell)


def last_leader(settings: Settings) -> LeaderSeen | None:
    """The leader of the cluster that was seen last; None if there never was one."""
    from governor.adapters.kubernetes_lease import KubernetesLeases, leader_seen

    given = settings.plane.kubernetes
    lease = KubernetesLeases(kubernetes_api(given), given.namespace, settings.leadership.name).get()
    return None if lease is None else leader_seen(lease, datetime.now(UTC))


def elector_of(settings: Settings) -> LeaseElector | None:
    """This replica's candidate for leadership; None where nothing is elected (no cluster, or switched off)."""
    from governor.adapters.kubernetes_lease import KubernetesLeases, LeaseElector

    asked, given = settings.leadership, settings.plane.kubernetes
    if settings.plane.kind != "kubernetes" or not asked.enabled:
        return None
    # A client of its own: renewing must not wait for the writer's requests, nor try again behind our back.
    api = kubernetes_api(given, timeout_s=(asked.write_s / 2, asked.write_s / 2), tries=1)
    return LeaseElector(KubernetesLeases(api, given.namespace, asked.name), _identity(), asked)


def _identity() -> str:
    # New for each process: a container that starts again has the same name and process id.
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def kubernetes_api(given: KubernetesSettings, **more: Any) -> KubernetesApi:
    """Requests to the cluster that the settings name, within their budget; `more` as for KubernetesApi."""
    from governor.adapters.kubernetes_api import KubernetesApi, RateBudget
    from governor.adapters.kubernetes_client import api_client

    budget = RateBudget(given.requests_per_second, given.burst)
    return KubernetesApi(api_client(given.kubeconfig, given.context), budget, **more)


def ledger_of(settings: Settings) -> Ledger:
    """The ledger on disk; LedgerError if it is locked or damaged."""
    from governor.adapters.ledger import SqliteLedger

    return SqliteLedger(settings.ledger.path)


def memory_ledger() -> Ledger:
    """A ledger that forgets: for a look that leaves nothing behind."""
    from governor.adapters.memory import MemoryLedger

    return MemoryLedger()
