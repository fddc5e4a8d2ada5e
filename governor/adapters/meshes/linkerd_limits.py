"""Linkerd's HTTPLocalRateLimitPolicy: requests per second that each proxy of a Server lets in.

A Server must be there already: one made by the governor would refuse all traffic that no policy allows, since
`accessPolicy` is `deny` unless its owner says otherwise. One policy holds for a Server.
Source: Linkerd, reference page on rate limiting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import ABSENT, AnyChange, Change, Edit, OwnObject
from governor.adapters.kubernetes_objects import Body, Found, Ref, Snapshot
from governor.adapters.meshes.linkerd_objects import LIMIT_POLICY, POLICY, SERVER, service
from governor.adapters.meshes.mesh import Place

_TOTAL = ("spec", "total", "requestsPerSecond")


def limit_in(snapshot: Snapshot, place: Place) -> float | None:
    """Requests/s that all proxies of the service let in together; Inexpressible if no one Server is its own."""
    found = _policy(snapshot, _server(snapshot, place))
    total = None if found is None else (found[1]["spec"].get("total") or {}).get("requestsPerSecond")
    return None if total is None else float(total) * place.callee_proxies


def limit_changes(snapshot: Snapshot, place: Place, requests_per_second: float | None) -> list[AnyChange]:
    """The total of the Server's policy, or a policy of the governor's own where there is none."""
    if len(place.apis) > 1:
        raise Inexpressible("several APIs enter here, and which requests belong to which Linkerd does not know")
    server = _server(snapshot, place)
    found = _policy(snapshot, server)
    each = None if requests_per_second is None else max(1, math.ceil(requests_per_second / place.callee_proxies))
    own = Ref(LIMIT_POLICY, server.namespace, f"{server.name}-governor")
    if found is not None and found[0] != own:
        return [Change(found[0], (Edit(_TOTAL, ABSENT if each is None else each),))]
    if each is None:
        return [] if found is None else [OwnObject(own, None)]
    target = {"group": POLICY, "kind": SERVER.kind, "name": server.name}
    return [OwnObject(own, {"spec": {"targetRef": target, "total": {"requestsPerSecond": each}}})]


def _server(snapshot: Snapshot, place: Place) -> Ref:
    ref, body = service(snapshot, place)
    selector: Mapping[str, str] = body.get("spec", {}).get("selector") or {}
    ports = _target_ports(body)
    found = [
        server
        for server in _candidates(snapshot, ref.namespace, selector)
        if _is_of(snapshot.objects[server]["spec"], selector, ports)
    ]
    if not found:
        raise Inexpressible(
            f"no Server selects the pods and port of {ref}: create one, with an accessPolicy that lets its "
            "callers in (it denies all of them by default)"
        )
    if len(found) > 1:
        raise Inexpressible(f"{' and '.join(map(str, found))} both are of {ref}, and each counts by itself")
    return found[0]


def _candidates(snapshot: Snapshot, namespace: str, labels: Mapping[str, str]) -> list[Ref]:
    """Servers with a label of these in their selector, or with none at all; none for a Service without labels."""
    if not labels:
        return []
    known = snapshot.index(SERVER, _first_label)
    return sorted(ref for label in (None, *labels.items()) for ref in known.get((namespace, label), ()))


def _first_label(ref: Ref, body: Body) -> Iterable[tuple[str, tuple[str, str] | None]]:
    exact = (body["spec"].get("podSelector") or {}).get("matchLabels") or {}
    return [(ref.namespace, min(exact.items(), default=None))]


def _is_of(server: Mapping[str, Any], labels: Mapping[str, str], ports: set[int | str]) -> bool:
    return server["port"] in ports and _selects(server.get("podSelector"), labels)


def _policy(snapshot: Snapshot, server: Ref) -> Found | None:
    refs = snapshot.index(LIMIT_POLICY, _limited).get((server.namespace, server.name), ())
    if len(refs) > 1:
        raise Inexpressible(f"{' and '.join(map(str, refs))} both limit {server}, and Linkerd takes one")
    return (refs[0], snapshot.objects[refs[0]]) if refs else None


def _limited(ref: Ref, body: Body) -> Iterable[tuple[str, str]]:
    return [(ref.namespace, body["spec"]["targetRef"]["name"])]


def _target_ports(body: Body) -> set[int | str]:
    return {port.get("targetPort", port["port"]) for port in body.get("spec", {}).get("ports") or ()}


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a pod that has at least these labels is selected for certain."""
    if selector is None:
        return False
    exact = selector.get("matchLabels") or {}
    return all(labels.get(name) == value for name, value in exact.items()) and all(
        _holds(rule, labels) for rule in selector.get("matchExpressions") or ()
    )


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(rule["key"])
    if value is None:
        # The pod may have the label all the same.
        return False
    match rule["operator"]:
        case "In":
            return value in rule["values"]
        case "NotIn":
            return value not in rule["values"]
        case operator:
            return bool(operator == "Exists")
