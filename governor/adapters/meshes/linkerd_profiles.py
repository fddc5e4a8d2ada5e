"""Linkerd's older ServiceProfiles: recognised, read, and only their retry budget is written.

A ServiceProfile of a service makes the proxies ignore its routes and the annotations for retries, timeouts and
circuit breaking. Source: Linkerd, reference page on ServiceProfiles.
"""

from __future__ import annotations

import re

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change, Edit
from governor.adapters.kubernetes_objects import Body, Found
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.shares import Destination, service_names, shares_of
from governor.knobs import BackendWeights, RetryPolicy

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?)([mkMG]?)")
_SUFFIX = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
_RATIO = ("spec", "retryBudget", "retryRatio")


def weights_in(body: Body, place: Place) -> BackendWeights | None:
    """The shares that `spec.dstOverrides` gives."""
    overrides = body["spec"].get("dstOverrides") or ()
    destinations = [
        Destination(
            path=("spec", "dstOverrides", at, "weight"),
            names=service_names(override["authority"].partition(":")[0], place.callee.namespace),
            weight=_quantity(override["weight"]),
        )
        for at, override in enumerate(overrides)
    ]
    return shares_of(destinations, place.backends)


def retries_in(body: Body) -> RetryPolicy | None:
    """The retry budget; its routes say which requests are retried, not how often."""
    ratio = body["spec"].get("retryBudget", {}).get("retryRatio")
    return None if ratio is None else RetryPolicy(None, float(ratio))


def retry_changes(found: Found, value: RetryPolicy) -> list[Change]:
    """The budget's ratio, where its owner has written a budget."""
    ref, body = found
    if value.attempts is not None:
        raise Inexpressible(f"{ref} makes Linkerd ignore annotations, and has no field for a number of retries")
    if "retryBudget" not in body["spec"]:
        raise Inexpressible(
            f"{ref} has no spec.retryBudget: write one with retryRatio, minRetriesPerSecond and ttl first"
        )
    if value.budget is None:
        raise Inexpressible(f"{ref}: spec.retryBudget cannot be without its retryRatio")
    return [Change(ref, (Edit(_RATIO, round(value.budget, 4)),))]


def _quantity(text: object) -> float:
    """A Kubernetes quantity (`900m`, `1k`, `2`); 0 for what is none."""
    match = _QUANTITY.fullmatch(str(text))
    return 0.0 if match is None else float(match[1]) * _SUFFIX[match[2]]
