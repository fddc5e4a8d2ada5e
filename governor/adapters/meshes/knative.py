"""Knative Serving: percents of a service's revisions, and the timeout of the revisions to come.

`spec.traffic` is one list whose percents sum to 100. All of `spec.template` belongs to a revision and never
changes in one: a new value there makes a new revision, with fresh pods. A Route that a Knative Service made is
written by that Service; a Route without one is the user's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, AnyChange, Change, Edit
from governor.adapters.kubernetes_objects import Body, Found, Kind, Ref, Snapshot
from governor.adapters.meshes.checked import checked
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.rules_knative import MAX_TIMEOUT_S, violations
from governor.adapters.meshes.shares import Destination, service_names, shares_of, weight_edits
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

KNATIVE_SERVICE = Kind("serving.knative.dev", "v1", "services", "Service")
ROUTE = Kind("serving.knative.dev", "v1", "routes", "Route")
_TIMEOUT = ("spec", "template", "spec", "timeoutSeconds")
_NO: Mapping[type[KnobValue], str] = {
    RetryPolicy: "Knative retries nothing and has no field for it",
    OutlierDetection: "Knative ejects no pods by their answers",
    ConnectionLimits: "Knative limits no connections",
    RateLimit: "Knative limits no rates: its autoscaler adds pods instead",
    InFlightCap: (
        "containerConcurrency is per pod and requests beyond it wait while pods are added: it sizes the service "
        "and caps nothing"
    ),
}


@dataclass(frozen=True)
class Knative:
    """Knative Serving."""

    name: str = "knative"
    kinds: tuple[Kind, ...] = (KNATIVE_SERVICE, ROUTE)
    confirming: frozenset[Kind] = frozenset()
    """None: a new revision is ready when its pods are, which takes longer than a cycle may wait."""

    def settings(self, snapshot: Snapshot, place: Place) -> Mapping[Knob, KnobValue]:
        """Percents by revision, the latest revision's timeout and how much its pods take at once."""
        found = _object(snapshot, place)
        if found is None:
            return {}
        ref, body = found
        said: dict[Knob, KnobValue] = {}
        shares = shares_of(_destinations(ref, body), place.backends)
        if shares is not None:
            said[Knob.WEIGHTS] = shares
        revision = body["spec"].get("template", {}).get("spec", {})
        if timeout := revision.get("timeoutSeconds"):
            said[Knob.TIMEOUT] = Timeout(float(timeout), None)
        if each := revision.get("containerConcurrency"):
            said[Knob.IN_FLIGHT_CAP] = InFlightCap(each * place.callee_proxies, None)
        return said

    def changes(self, snapshot: Snapshot, place: Place, value: KnobValue) -> Sequence[AnyChange]:
        """Percents of the revisions named, or the timeout of the next revision."""
        if type(value) in _NO:
            raise Inexpressible(_NO[type(value)])
        found = _object(snapshot, place)
        if found is None:
            raise Inexpressible(
                f"{place.callee.namespace}/{place.callee.name} is neither a Service nor a Route of Knative"
            )
        ref, body = found
        if isinstance(value, BackendWeights):
            destinations = _destinations(ref, body)
            if not destinations:
                raise Inexpressible(f"{ref} has no spec.traffic: name its revisions there, with their percents")
            change = Change(ref, weight_edits(ref, destinations, value))
        else:
            assert isinstance(value, Timeout)
            change = Change(ref, _timeout(ref, body, value))
        return checked([change], snapshot, violations)


def _object(snapshot: Snapshot, place: Place) -> Found | None:
    """The object that says where the callee's requests go."""
    for kind in (KNATIVE_SERVICE, ROUTE):
        ref = Ref(kind, place.callee.namespace, place.callee.name)
        body = snapshot.get(ref)
        if body is not None:
            return ref, body
    return None


def _destinations(ref: Ref, body: Body) -> list[Destination]:
    """The entries that say a percent; those without one only give a revision an address of its own."""
    return [
        Destination(
            path=("spec", "traffic", at, "percent"),
            names=_names(entry, body, ref.namespace),
            weight=float(entry["percent"]),
        )
        for at, entry in enumerate(body["spec"].get("traffic") or ())
        if "percent" in entry
    ]


def _names(entry: Mapping[str, Any], body: Body, namespace: str) -> tuple[str, ...]:
    revision = entry.get("revisionName") or body.get("status", {}).get("latestReadyRevisionName") or "latest"
    tag = entry.get("tag")
    tagged = () if tag is None else (tag, *service_names(f"{tag}-{body['metadata']['name']}", namespace))
    return *service_names(revision, namespace), *tagged


def _timeout(ref: Ref, body: Body, value: Timeout) -> tuple[Edit, ...]:
    if value.per_try_s is not None:
        raise Inexpressible("Knative tries once: it has no timeout of a single try")
    spec = body["spec"]
    if "template" not in spec:
        raise Inexpressible(f"{ref} only routes: the timeout is in the Configuration that makes its revisions")
    if name := (spec["template"].get("metadata") or {}).get("name"):
        raise Inexpressible(
            f"{ref} names its revision {name} itself, and Knative takes no change without a new name"
        )
    pinned = [entry["revisionName"] for entry in spec.get("traffic") or () if entry.get("revisionName")]
    followed = [e for e in spec.get("traffic") or () if not e.get("revisionName") and e.get("percent", 0) > 0]
    if pinned and not followed:
        raise Inexpressible(
            f"a new timeout makes a new revision, and {ref} sends nothing to new ones: "
            f"its spec.traffic is pinned to {', '.join(pinned)}"
        )
    if value.request_s is None:
        return (Edit(_TIMEOUT, ABSENT),)
    # Whole seconds, and 0 is read as unset: a request must not be cut off earlier than was asked.
    seconds = max(1, math.ceil(round(value.request_s, 6)))
    if seconds > MAX_TIMEOUT_S:
        raise Inexpressible(f"Knative takes at most {MAX_TIMEOUT_S} s, and {seconds} s was asked")
    return (Edit(_TIMEOUT, seconds),)


MESH = Knative()
