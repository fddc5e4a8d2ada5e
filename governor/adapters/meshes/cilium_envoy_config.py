"""A CiliumEnvoyConfig of the governor's own: retries, breakers and outlier detection as Envoy says them.

It sends all requests of one service through Cilium's Envoy. Two of them for one service have no defined order, so
a service that somebody else's covers is left alone, and since requests take another way through it, the Service's
owner must allow it. Whatever the governor does not set is neutral in it: no timeout, no limit, no ejection.
Cilium runs one Envoy on each node, which counts for all callers there.
Source: Cilium 1.20, `operator/pkg/ciliumenvoyconfig` and the L7 traffic management pages; Envoy v3 API.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from governor.adapters.inexpressible import Inexpressible
from governor.adapters.kubernetes_discovery import slices_of
from governor.adapters.kubernetes_edits import (
    ABSENT,
    AnyChange,
    Change,
    Edit,
    FieldPath,
    OwnObject,
    value_at,
)
from governor.adapters.kubernetes_objects import SERVICE, Body, Kind, Ref, Snapshot
from governor.adapters.kubernetes_ownership import MAY_EDIT, is_own, may_edit
from governor.adapters.meshes.mesh import Place, service_of
from governor.adapters.meshes.shares import whole_percent
from governor.knobs import ConnectionLimits, InFlightCap, Knob, OutlierDetection, RetryPolicy

ENVOY_CONFIG = Kind("cilium.io", "v2", "ciliumenvoyconfigs", "CiliumEnvoyConfig")
CLUSTER_CONFIG = Kind(
    "cilium.io", "v2", "ciliumclusterwideenvoyconfigs", "CiliumClusterwideEnvoyConfig", namespaced=False
)
UNLIMITED = 2**32 - 1
RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"
"""Failures after which the request was not worked on, so that any request may be tried again."""
_TYPE = "type.googleapis.com/envoy"
_ROUTE: FieldPath = ("spec", "resources", 1, "virtual_hosts", 0, "routes", 0, "route")
_CLUSTER: FieldPath = ("spec", "resources", 2)
_LIMITS: FieldPath = (*_CLUSTER, "circuit_breakers", "thresholds", 0)
_EJECTION: FieldPath = (*_CLUSTER, "outlier_detection")
_HTTP = ("http", "grpc", "h2c", "kubernetes.io/h2c", "kubernetes.io/ws")

Leaves = Mapping[FieldPath, Any]


def retry_leaves(value: RetryPolicy) -> Leaves:
    """Attempts of the route, budget of the cluster; the budget takes the place of max_retries."""
    budget = value.budget
    return {
        (*_ROUTE, "retry_policy", "retry_on"): None if value.attempts is None else RETRY_ON,
        (*_ROUTE, "retry_policy", "num_retries"): value.attempts,
        (*_LIMITS, "retry_budget", "budget_percent", "value"): None if budget is None else round(budget * 100, 2),
        # Envoy lets this many retries pass any budget, so none of a budget must be none of them.
        (*_LIMITS, "retry_budget", "min_retry_concurrency"): None if budget is None else 3 if budget else 0,
    }


def outlier_leaves(value: OutlierDetection) -> Leaves:
    """Failures in a row alone: Envoy's ejection by success rate would come with them unasked."""
    percent = None if value.max_ejection is None else whole_percent(value.max_ejection)
    said = percent is not None or value.consecutive_5xx is not None
    return {
        (*_EJECTION, "consecutive_5xx"): value.consecutive_5xx,
        (*_EJECTION, "max_ejection_percent"): percent,
        (*_EJECTION, "enforcing_success_rate"): 0 if said else None,
    }


def cap_leaves(value: InFlightCap, nodes: int) -> Leaves:
    """Requests in flight of each node's Envoy; Inexpressible for a cap of priority HIGH."""
    if value.high is not None:
        raise Inexpressible(
            "a CiliumEnvoyConfig of the governor's has one route, and no requests of priority HIGH"
        )
    return {(*_LIMITS, "max_requests"): _each(value.default, nodes)}


def limit_leaves(value: ConnectionLimits, nodes: int) -> Leaves:
    """Connections and waiting requests of each node's Envoy."""
    return {
        (*_LIMITS, "max_connections"): _each(value.max_connections, nodes),
        (*_LIMITS, "max_pending_requests"): _each(value.max_pending_requests, nodes),
    }


def config_changes(snapshot: Snapshot, place: Place, knob: Knob, leaves: Leaves) -> list[AnyChange]:
    """Leaves in the governor's own config of the callee, which is made if there is none."""
    ref = own_ref(place)
    _judge(snapshot, place, knob)
    edits = tuple(Edit(path, ABSENT if value is None else value) for path, value in leaves.items())
    if snapshot.get(ref) is not None:
        return [Change(ref, edits)]
    if all(value is None or value == UNLIMITED for value in leaves.values()):
        return []
    # The leaves by themselves, so that each knob gives back its own while others stay.
    return [OwnObject(ref, _neutral(place)), Change(ref, edits)]


def config_of(snapshot: Snapshot, place: Place) -> Body | None:
    """The governor's own config of the callee."""
    body = snapshot.get(own_ref(place))
    return body if body is not None and is_own(body) else None


def retries_in(body: Body) -> RetryPolicy | None:
    """What the config says of retries."""
    attempts = _read(body, (*_ROUTE, "retry_policy", "num_retries"))
    percent = _read(body, (*_LIMITS, "retry_budget", "budget_percent", "value"))
    if attempts is None and percent is None:
        return None
    return RetryPolicy(attempts, None if percent is None else percent / 100)


def outlier_in(body: Body) -> OutlierDetection | None:
    """What the config says of outlier detection."""
    percent, row = (_read(body, (*_EJECTION, name)) for name in ("max_ejection_percent", "consecutive_5xx"))
    if percent is None and row is None:
        return None
    return OutlierDetection(None if percent is None else percent / 100, row)


def cap_in(body: Body, nodes: int) -> InFlightCap | None:
    """What the config says of requests in flight, over all nodes."""
    each = _limit(body, "max_requests")
    return None if each is None else InFlightCap(each * nodes, None)


def limits_in(body: Body, nodes: int) -> ConnectionLimits | None:
    """What the config says of connections and waiting requests, over all nodes."""
    numbers = [_limit(body, name) for name in ("max_connections", "max_pending_requests")]
    if numbers == [None, None]:
        return None
    return ConnectionLimits(*(None if number is None else number * nodes for number in numbers))


def nodes_of(snapshot: Snapshot, place: Place) -> int:
    """Nodes that the caller is on, each with one Envoy; Inexpressible if they are not known."""
    caller = service_of(place.caller)
    refs = () if caller is None else slices_of(snapshot, caller.key)
    found = {
        endpoint["nodeName"]
        for ref in refs
        for endpoint in snapshot.objects[ref].get("endpoints") or ()
        if endpoint.get("nodeName")
    }
    if not found:
        raise Inexpressible(
            f"Cilium's Envoys count on each node, and on how many nodes {place.caller} is, is not known"
        )
    return len(found)


def own_ref(place: Place) -> Ref:
    """Where the governor's config of the callee is."""
    return Ref(ENVOY_CONFIG, place.callee.namespace, f"{place.callee.name}-governor")


def _judge(snapshot: Snapshot, place: Place, knob: Knob) -> None:
    """Inexpressible if anything speaks against sending the callee's requests through Envoy."""
    ref = Ref(SERVICE, place.callee.namespace, place.callee.name)
    service = snapshot.get(ref)
    if service is None:
        raise Inexpressible(f"{ref} is not there")
    ports = list(service.get("spec", {}).get("ports") or ())
    if len(ports) != 1 or not _is_http(ports[0]):
        raise Inexpressible(
            f"all ports of {ref} would go through Envoy as HTTP: it must have one, with a name or "
            "appProtocol that begins with http or grpc"
        )
    for other in _covering(snapshot, place):
        if other != own_ref(place):
            raise Inexpressible(f"{other} covers {ref}, and two configs of one service have no defined order")
    if not may_edit(service, knob):
        raise Inexpressible(
            f"a CiliumEnvoyConfig would send all requests of {ref} through Envoy: annotate the Service with "
            f"{MAY_EDIT}: {knob.value} to let the governor make one"
        )


def _covering(snapshot: Snapshot, place: Place) -> Iterator[Ref]:
    key = place.callee.key
    for kind in (ENVOY_CONFIG, CLUSTER_CONFIG):
        yield from snapshot.index(kind, _covered).get(key, ())


def _covered(ref: Ref, body: Body) -> Iterable[tuple[str, str]]:
    return {
        (service["name"], service.get("namespace") or ref.namespace or "default")
        for service in body["spec"].get("services") or ()
    }


def _is_http(port: Mapping[str, Any]) -> bool:
    return any(str(port.get(key, "")).startswith(_HTTP) for key in ("name", "appProtocol"))


def _each(number: int | None, nodes: int) -> int:
    return UNLIMITED if number is None else max(1, math.ceil(number / nodes))


def _limit(body: Body, name: str) -> int | None:
    number: int | None = _read(body, (*_LIMITS, name))
    return None if number == UNLIMITED else number


def _read(body: Body, path: FieldPath) -> Any:
    value = value_at(body, path)
    return None if value is ABSENT else value


def _neutral(place: Place) -> dict[str, Any]:
    """A config through which requests pass as they would without it."""
    name = f"{place.callee.namespace}/{place.callee.name}"
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": name},
        "use_remote_address": True,
        "skip_xff_append": True,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    protocol = {
        "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "use_downstream_protocol_config": {"http2_protocol_options": {}},
    }
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {
        "spec": {
            "services": [{"name": place.callee.name, "namespace": place.callee.namespace}],
            "resources": [
                {"@type": f"{_TYPE}.config.listener.v3.Listener", "name": name, "filter_chains": [chain]},
                {
                    "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
                    "name": name,
                    "virtual_hosts": [
                        {
                            "name": name,
                            "domains": ["*"],
                            # Envoy's own timeout of a route is 15 s.
                            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}],
                        }
                    ],
                },
                {
                    "@type": f"{_TYPE}.config.cluster.v3.Cluster",
                    "name": name,
                    "type": "EDS",
                    "connect_timeout": "5s",
                    "lb_policy": "ROUND_ROBIN",
                    "circuit_breakers": {
                        "thresholds": [{"priority": "DEFAULT", **dict.fromkeys(limits, UNLIMITED)}]
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
                    },
                },
            ],
        }
    }
