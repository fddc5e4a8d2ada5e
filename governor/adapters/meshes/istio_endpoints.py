"""Weights of a ServiceEntry's endpoints: workloads that are no pods, all in one cluster of the proxy.

Unlike subsets, endpoints keep the load balancer's own choice: least request goes round a slow one before any
weight is written, and limits count once. Sources: Istio, ServiceEntry and WorkloadEntry references (`weight`);
Envoy, load balancing weight (a random balancer ignores it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_edits import Change
from governor.adapters.kubernetes_objects import SERVICE, Found, Ref, Snapshot
from governor.adapters.manifests import endpoint_weights
from governor.adapters.meshes.istio_callers import service_entries
from governor.adapters.meshes.istio_destination import balancer_of
from governor.adapters.meshes.mesh import Place
from governor.adapters.meshes.shares import Destination, shares_of, weight_edits
from governor.knobs import BackendWeights

_ELSEWHERE = ("locality", "network")
_UNWEIGHTED = ("RANDOM", "PASSTHROUGH")


def pool(snapshot: Snapshot, place: Place) -> Found | None:
    """The ServiceEntry whose endpoints are the callee's; None if they are pods, or fewer than two.

    Inexpressible where several entries have endpoints of the host, which are one pool then.
    """
    service = place.callee
    if snapshot.get(Ref(SERVICE, service.namespace, service.name)) is not None:
        return None
    found = [(ref, body) for ref, body in service_entries(snapshot, service) if body["spec"].get("endpoints")]
    if len(found) > 1:
        names = ", ".join(str(ref) for ref, _ in found)
        raise Inexpressible(f"{names} all have endpoints of {service.host}: put them into one")
    return found[0] if found and len(found[0][1]["spec"]["endpoints"]) > 1 else None


def weights_in(found: Found, backends: Sequence[str]) -> BackendWeights | None:
    """The share of each endpoint, called by its address as metrics call it."""
    return shares_of(list(_destinations(found)), backends)


def weight_change(snapshot: Snapshot, place: Place, found: Found, value: BackendWeights) -> Change:
    """The weights of all endpoints.

    Raises Inexpressible where a weight would not be its endpoint's share, or an endpoint is not known.
    """
    ref, body = found
    spec = body["spec"]
    if spec.get("resolution") != "STATIC":
        raise Inexpressible(f"{ref} finds its endpoints by {spec.get('resolution', 'NONE')}: weights need STATIC")
    for field in _ELSEWHERE:
        if len({endpoint.get(field) for endpoint in spec["endpoints"]}) > 1:
            raise Inexpressible(f"{ref} has endpoints of more than one {field}: a weight is no share there")
    balancer = balancer_of(snapshot, place)
    if balancer in _UNWEIGHTED:
        raise Inexpressible(f"the load balancer of {place.callee.host} is {balancer}, which knows no weights")
    return Change(ref, weight_edits(ref, list(_destinations(found)), value, endpoint_weights))


def _destinations(found: Found) -> Iterator[Destination]:
    spec = found[1]["spec"]
    for number, endpoint in enumerate(spec["endpoints"]):
        path = ("spec", "endpoints", number, "weight")
        yield Destination(path, tuple(_addresses(spec, endpoint)), float(endpoint.get("weight") or 1))


def _addresses(spec: Mapping[str, Any], endpoint: Mapping[str, Any]) -> Iterator[str]:
    """Where Envoy reaches the endpoint: its address with the number that each of the host's ports has there."""
    address = str(endpoint.get("address", ""))
    host = f"[{address}]" if ":" in address else address
    for port in spec.get("ports") or ():
        own = (endpoint.get("ports") or {}).get(port.get("name"))
        yield f"{host}:{own or port.get('targetPort') or port['number']}"
