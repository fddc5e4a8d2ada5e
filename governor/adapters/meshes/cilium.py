"""Cilium: routes of the Gateway API, and for what they have no fields, a CiliumEnvoyConfig of the governor's own.

Which file has which knob: `cilium_envoy_config` retries, caps, limits and outlier detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import AnyChange
from governor.adapters.kubernetes_objects import Kind, Snapshot
from governor.adapters.meshes import cilium_envoy_config as envoy
from governor.adapters.meshes.mesh import Place
from governor.knobs import (
    BackendWeights,
    ConnectionLimits,
    InFlightCap,
    Knob,
    KnobValue,
    OutlierDetection,
    RateLimit,
    RetryPolicy,
    Timeout,
)

_NO_LIMIT = "whether Cilium's Envoy was built with a filter for rate limits is not known"


@dataclass(frozen=True)
class Cilium:
    """Cilium 1.18 and newer with `envoyConfig.enabled`."""

    name: str = "cilium"
    kinds: tuple[Kind, ...] = (envoy.ENVOY_CONFIG, envoy.CLUSTER_CONFIG)
    confirming: frozenset[Kind] = frozenset()
    """None: a CiliumEnvoyConfig has no status; metrics judge."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """What the governor's own config says; what other configs say in Envoy's words is not read."""
        body = envoy.config_of(snapshot, place)
        if body is None:
            return {}
        found: dict[Knob, KnobValue | None] = {
            Knob.RETRIES: envoy.retries_in(body),
            Knob.OUTLIER_DETECTION: envoy.outlier_in(body),
        }
        with suppress(Inexpressible):
            nodes = envoy.nodes_of(snapshot, place)
            found[Knob.IN_FLIGHT_CAP] = envoy.cap_in(body, nodes)
            found[Knob.CONNECTION_LIMITS] = envoy.limits_in(body, nodes)
        return {knob: value for knob, value in found.items() if value is not None}

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """See `Mesh.changes`."""
        match value:
            case RateLimit():
                raise Inexpressible(_NO_LIMIT)
            case RetryPolicy():
                knob, leaves = Knob.RETRIES, envoy.retry_leaves(value)
            case OutlierDetection():
                knob, leaves = Knob.OUTLIER_DETECTION, envoy.outlier_leaves(value)
            case InFlightCap():
                knob, leaves = Knob.IN_FLIGHT_CAP, envoy.cap_leaves(value, envoy.nodes_of(snapshot, place))
            case ConnectionLimits():
                knob, leaves = Knob.CONNECTION_LIMITS, envoy.limit_leaves(value, envoy.nodes_of(snapshot, place))
            case BackendWeights() | Timeout():
                raise Inexpressible("routes are not written yet")
        return envoy.config_changes(snapshot, place, knob, leaves)


MESH = Cilium()
