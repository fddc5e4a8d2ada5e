"""Rules of Knative's admission webhook that no schema holds.

Source: `pkg/apis/serving/v1/route_validation.go` and `revision_validation.go` of knative/serving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from governor.adapters.kubernetes_objects import Body, Kind

MAX_TIMEOUT_S = 600
"""`max-revision-timeout-seconds` of the ConfigMap config-defaults, unless an operator changed it."""


def violations(kind: Kind, body: Body) -> list[str]:
    """What is wrong with a Service or a Route of Knative, in words."""
    if kind.group != "serving.knative.dev":
        return []
    spec = body.get("spec", {})
    found = _of_traffic(spec.get("traffic") or (), owned=kind.kind == "Service")
    return found + _of_revision(spec.get("template", {}).get("spec", {}))


def _of_traffic(traffic: Sequence[Mapping[str, Any]], *, owned: bool) -> list[str]:
    if not traffic:
        return []
    found = []
    for at, entry in enumerate(traffic):
        where = f"spec.traffic[{at}]"
        if not 0 <= entry.get("percent", 0) <= 100:
            found.append(f"{where}.percent is {entry['percent']}, not within 0..100")
        pinned = bool(entry.get("revisionName"))
        if entry.get("latestRevision", not pinned) is pinned:
            found.append(f"{where}.latestRevision must be the opposite of having a revisionName")
        if entry.get("configurationName") and (owned or pinned):
            found.append(f"{where}.configurationName must not be there")
        if not owned and not pinned and not entry.get("configurationName"):
            found.append(f"{where} needs a revisionName or a configurationName")
        if entry.get("url"):
            found.append(f"{where}.url is for the status only")
    tags = Counter(entry["tag"] for entry in traffic if entry.get("tag"))
    found += [f"spec.traffic has the tag {tag} more than once" for tag, count in tags.items() if count > 1]
    total = sum(entry.get("percent", 0) for entry in traffic)
    if total != 100:
        found.append(f"the percents of spec.traffic sum to {total}, not to 100")
    return found


def _of_revision(revision: Mapping[str, Any]) -> list[str]:
    timeout = revision.get("timeoutSeconds", 0)
    if 0 <= timeout <= MAX_TIMEOUT_S:
        return []
    return [f"spec.template.spec.timeoutSeconds is {timeout}, not within 0..{MAX_TIMEOUT_S}"]
