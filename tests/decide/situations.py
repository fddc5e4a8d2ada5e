"""A small mesh for the laws: ingress -> web -> db, one API in two classes, three backends of web."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from governor.decide.backends import BackendEvidence
from governor.decide.capacity import CapacityBelief
from governor.decide.load import ServiceLoad, service_load
from governor.decide.situation import Situation
from governor.domain import (
    ApiSignals,
    BackendSignals,
    EdgeSignals,
    FloatArray,
    MeshFrame,
    MeshIndex,
    RateSamples,
    ServiceSignals,
)
from governor.knobs import KnobState
from governor.policy import load_policies, resolve

PERIOD_S = 5.0
INDEX = MeshIndex(
    services=("ingress", "web", "db"),
    edges=("ingress>web", "web>db"),
    edge_caller=np.array([0, 1], np.int32),
    edge_callee=np.array([1, 2], np.int32),
    backends=("web-0", "web-1", "web-2"),
    backend_edge=np.array([0, 0, 0], np.int32),
    apis=("shop.high", "shop.low"),
    api_edge=np.array([0, 0], np.int32),
)
ENTRY, INNER = 0, 1
WEB, DB = 1, 2
POLICY = resolve(load_policies(["balanced"]), INDEX)
BASE_S = 0.05
"""Latency of web's own work."""


def _array(*values: float) -> FloatArray:
    return np.array(values, np.float32)


def frame(
    edge: Mapping[str, Any] | None = None,
    api: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    backend: Mapping[str, Any] | None = None,
    index: MeshIndex = INDEX,
    samples: RateSamples | None = None,
) -> MeshFrame:
    """A healthy window of 200 requests/s, half of which go on to db; what is given replaces whole signals."""
    signals: dict[str, dict[str, Any]] = {
        "edge": {
            "rate": (200, 100),
            "errors": (0, 0),
            "attempts": (200, 100),
            "retries": (0, 0),
            "timeouts": (0, 0),
            "overflow": (0, 0),
            "in_flight": (12, 2),
            "latency_mean": (0.06, 0.02),
            "latency_p50": (0.05, 0.02),
            "latency_p99": (0.2, 0.06),
            "latency_p999": (0.3, 0.09),
        }
        | dict(edge or {}),
        "api": {"offered": (60, 140), "limited": (0, 0), "completed": (60, 140), "errors": (0, 0)}
        | dict(api or {}),
        "service": {
            "cpu_used": (np.nan, 10, 2),
            "cpu_limit": (np.nan, 20, 20),
            "completions": (np.nan, 200, 100),
            "server_latency": (np.nan, 0.06, 0.02),
        }
        | dict(service or {}),
        "backend": {"rate": (67, 67, 66), "errors": (0, 0, 0), "in_flight": (4, 4, 4)} | dict(backend or {}),
    }
    kinds = {"edge": EdgeSignals, "api": ApiSignals, "service": ServiceSignals, "backend": BackendSignals}
    tables = {
        name: kind.unknown(index.sizes[name], **{k: _array(*np.atleast_1d(v)) for k, v in signals[name].items()})
        for name, kind in kinds.items()
    }
    trust = {f"{name}.{f.name}": 1.0 for name, table in tables.items() for f in fields(table)}
    return MeshFrame(1000.0, PERIOD_S, index, trust=trust, samples=samples, **tables)


def knobs(**values: Any) -> KnobState:
    """Nothing set but `values`."""
    return replace(KnobState.unset(INDEX), **{k: _array(*np.atleast_1d(v)) for k, v in values.items()})


def belief(**values: Any) -> CapacityBelief:
    """web carries 400 requests/s at 50 ms of its own, db 1,000 at 20 ms; calm."""
    known: dict[str, Any] = {
        "capacity": np.array([np.nan, 400.0, 1000.0]),
        "spread": np.full(3, 0.02),
        "seen": np.array([np.nan, 250.0, 120.0]),
        "base_latency": np.array([np.nan, BASE_S, 0.02]),
        "path_latency": np.array([np.nan, 0.06, 0.02]),
        "top_use": np.ones(3),
        "queued": np.zeros(3),
        "saturated": np.zeros(3, np.bool_),
        "calm": np.array([False, True, True]),
    }
    return CapacityBelief(**(known | {k: np.asarray(v) for k, v in values.items()}))


def load(**values: Any) -> ServiceLoad:
    """What the healthy frame says of its services, with `values` in place of some."""
    return replace(service_load(frame()), **{k: np.asarray(v, float) for k, v in values.items()})


def situation(
    *,
    seen: MeshFrame | None = None,
    set_to: KnobState | None = None,
    believed: CapacityBelief | None = None,
    evidence: BackendEvidence | None = None,
    cost: Any = None,
    own_share: Any = None,
    **policy: Any,
) -> Situation:
    """All that a law looks at; `policy` replaces arrays of the balanced preset's view."""
    window = seen or frame()
    return Situation(
        frame=window,
        knobs=set_to or knobs(),
        policy=replace(POLICY, **{k: np.asarray(v) for k, v in policy.items()}),
        load=service_load(window),
        belief=believed or belief(),
        backends=evidence or BackendEvidence.none(3),
        cost=np.array([[0, 0], [1, 1], [0.5, 0.5]]) if cost is None else np.asarray(cost, float),
        period_s=PERIOD_S,
        own_share=np.full(3, 1 / 3) if own_share is None else np.asarray(own_share, float),
    )
