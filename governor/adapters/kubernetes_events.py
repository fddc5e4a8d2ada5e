"""Events on the objects that were written, so that `kubectl describe` shows who changed what and why.

Source: Kubernetes API, events.k8s.io/v1 Event. An Event lives in the namespace of its object. One that cannot be
written is logged and forgotten: the ledger has the decision.
"""

from __future__ import annotations

import datetime as dt
import secrets

import structlog

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_objects import Kind, Ref
from governor.adapters.kubernetes_ownership import MANAGER
from governor.adapters.kubernetes_writer import Written
from governor.errors import ControlPlaneError
from governor.knobs import Knob, KnobValue, Target, value_to_json

log = structlog.get_logger("governor")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
LONGEST_NOTE = 1000


class KubernetesEvents:
    """Writes one Event for each object that was changed."""

    def __init__(self, api: KubernetesApi, instance: str) -> None:
        self._api, self._instance = api, instance

    def tell(self, done: Written, target: Target, knob: Knob, before: KnobValue, after: KnobValue) -> None:
        """Say on the object that the knob went from `before` to `after`."""
        body = done.after or done.before or {}
        namespace = done.ref.namespace or "default"
        name = f"{done.ref.name[:200]}.{secrets.token_hex(8)}"
        note = f"{knob.value} of {target}: {value_to_json(before)} -> {value_to_json(after)}"
        event = {
            "apiVersion": EVENT.api_version,
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": "Normal",
            "reason": "Governed",
            "action": knob.value,
            "note": note[:LONGEST_NOTE],
            "reportingController": "mesh-governor.github.io/governor",
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": done.ref.kind.api_version,
                "kind": done.ref.kind.kind,
                "namespace": done.ref.namespace,
                "name": done.ref.name,
                "uid": body.get("metadata", {}).get("uid", ""),
            },
        }
        try:
            self._api.create(Ref(EVENT, namespace, name), event, MANAGER)
        except ControlPlaneError as error:
            log.warning("an event could not be written", object=str(done.ref), error=str(error))
