"""Metrics pages with the names, labels and units of each mesh, counting a traffic that is known.

In each of them a gateway calls `web` 500 times a second, and `web` calls `reviews` 400 times: 20 of those fail,
30 are tried again, and v1 takes three quarters of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from .mesh_page import (
    ENVOY_MS,
    ERRORS,
    GO_S,
    INTO_WEB,
    LINKERD_MS,
    LINKERD_S,
    OPENTELEMETRY_S,
    RATE,
    RETRIES,
    REVIEWS,
    SHARES,
    Labels,
    MeshPage,
    Series,
    by_version,
    counter,
    histogram,
    in_seconds,
)


def cpu(namespace: str, pod: str, cores: float) -> Series:
    labels = {"namespace": namespace, "pod": pod, "container": "main"}
    return counter("container_cpu_usage_seconds_total", cores, labels)


def istio() -> MeshPage:
    """Sidecars and a gateway; the proxies' own counters for retries."""
    found: list[Series] = [cpu("shop", "reviews-v1-6d4b75cb6d-hcmcb", 0.5)]

    def answers(
        reporter: str, caller: str, space: str, callee: str, version: str, rate: float, code: str
    ) -> None:
        labels = {
            "reporter": reporter,
            "source_workload": f"{caller}-v1" if space == "shop" else caller,
            "source_canonical_service": caller,
            "source_workload_namespace": space,
            "destination_service": f"{callee}.shop.svc.cluster.local",
            "destination_canonical_service": callee,
            "destination_workload": f"{callee}-{version}",
            "destination_workload_namespace": "shop",
            "destination_version": version,
            "response_code": code,
            "grpc_response_status": "",
            "response_flags": "-",
        }
        found.append(counter("istio_requests_total", rate, labels))
        found.extend(histogram("istio_request_duration_milliseconds", rate, labels, ENVOY_MS, 1000))

    answers("source", "istio-ingressgateway", "istio-system", "web", "v1", INTO_WEB, "200")
    for version, share in SHARES.items():
        answers("source", "web", "shop", "reviews", version, (RATE - ERRORS) * share, "200")
        answers("source", "web", "shop", "reviews", version, ERRORS * share, "503")
        answers("destination", "web", "shop", "reviews", version, (RATE + RETRIES) * share, "200")
    proxy = {"namespace": "shop", "pod": "web-v1-6d4b75cb6d-abcde"}
    proxy["envoy_cluster_name"] = f"outbound|9080||{REVIEWS}"
    found.append(Series("envoy_cluster_membership_total", proxy, 2, gauge=True))
    found.append(counter("envoy_cluster_upstream_rq_retry", RETRIES, proxy))
    found.append(counter("envoy_cluster_upstream_rq_total", RATE + RETRIES, proxy))
    return MeshPage(
        "istio",
        tuple(found),
        gateway="istio-ingressgateway.istio-system",
        bounds_s=in_seconds(ENVOY_MS),
        retries=RETRIES,
        backends=by_version(RATE),
    )


def ambient() -> MeshPage:
    """Waypoints: what a gateway sends through one is reported by both; `ratings` has none."""
    plain = istio()
    found: list[Series] = []
    for one in plain.series:
        if one.labels.get("reporter") == "source":
            found.append(Series(one.name, {**one.labels, "reporter": "waypoint"}, one.value))
            if one.labels["source_canonical_service"] == "istio-ingressgateway":
                through = {"destination_workload": "waypoint", "destination_version": "latest"}
                found.append(Series(one.name, {**one.labels, **through}, one.value))
    ratings = "ratings.shop.svc.cluster.local"
    for reporter in ("source", "destination"):
        labels = {"reporter": reporter, "source_workload": "reviews-v1", "destination_service": ratings}
        found.append(counter("istio_tcp_connections_opened_total", 7, labels))
    return MeshPage(
        "istio",
        tuple(found),
        gateway=plain.gateway,
        bounds_s=plain.bounds_s,
        backends=plain.backends,
        unseen=ratings,
    )


def linkerd(protocol: str = "http") -> MeshPage:
    """A meshed ingress; `reviews` is a route over two services; `front` is the deployment behind `web`."""
    good, bad, none = {"http": ("200", "500", ""), "grpc": ("OK", "INTERNAL", "UNKNOWN")}[protocol]
    prefix = f"outbound_{protocol}_route"
    found = [*linkerd_endpoints()]
    ingress, front = LINKERD_INGRESS, LINKERD_FRONT

    def parent(name: str) -> dict[str, str]:
        kind = {"parent_group": "core", "parent_kind": "Service", "parent_name": name, "parent_namespace": "shop"}
        return {**kind, "parent_port": "80", "route_name": name}

    def route(by: Labels, to: str, status: str, error: str, rate: float) -> None:
        labels = {**by, **parent(to), f"{protocol}_status": status, "error": error}
        found.append(counter(f"{prefix}_request_statuses_total", rate, labels))

    def backend(by: Labels, to: str, name: str, rate: float) -> None:
        labels = {**by, **parent(to), "backend_kind": "Service", "backend_name": name}
        found.append(counter(f"{prefix}_backend_requests_total", rate, labels))
        found.extend(histogram(f"{prefix}_backend_response_duration_seconds", rate, labels, LINKERD_S))

    route(ingress, "web", good, "", INTO_WEB)
    route(front, "reviews", good, "", RATE - ERRORS)
    route(front, "reviews", bad, "", ERRORS / 2)
    route(front, "reviews", none, "REQUEST_TIMEOUT", ERRORS / 2)
    route(front, "reviews", none, "CANCEL", 0.0)
    reviews = {**front, **parent("reviews")}
    found.extend(histogram(f"{prefix}_request_duration_seconds", RATE, reviews, (0.05, 0.5, 1, 10)))
    found.extend(
        histogram(f"{prefix}_request_duration_seconds", INTO_WEB, {**ingress, **parent("web")}, (0.05, 10))
    )
    backend(ingress, "web", "web", INTO_WEB)
    for version, share in SHARES.items():
        backend(front, "reviews", f"reviews-{version}", (RATE + RETRIES) * share)
    found.append(counter(f"{prefix}_retry_requests_total", RETRIES, reviews))
    limit = {"ratelimit_name": "web", "ratelimit_scope": "total", **front}
    found.append(counter("inbound_http_local_ratelimit_total", 4, limit))
    return MeshPage(
        "linkerd",
        tuple(found),
        gateway="ingress-nginx.edge",
        bounds_s=in_seconds(LINKERD_MS),
        retries=RETRIES,
        backends=by_version(RATE + RETRIES, "reviews-"),
        limited=4.0,
    )


LINKERD_FRONT = {"deployment": "front", "namespace": "shop"}
LINKERD_INGRESS = {"deployment": "ingress-nginx", "namespace": "edge"}


def linkerd_endpoints() -> Iterator[Series]:
    """What a proxy counts for each endpoint, with or without routes: attempts."""
    yield cpu("shop", "front-6d4b75cb6d-hcmcb", 0.5)

    def calls(by: Labels, to: str, workload: str, rate: float, failed: float = 0.0) -> Iterator[Series]:
        labels = {**by, "direction": "outbound", "dst_service": to, "dst_namespace": "shop", "tls": "true"}
        labels |= {"dst_deployment": workload}
        yield counter("response_total", rate - failed, {**labels, "classification": "success"})
        yield counter("response_total", failed, {**labels, "classification": "failure"})
        yield from histogram("response_latency_ms", rate, labels, LINKERD_MS, 1000)

    yield from calls(LINKERD_INGRESS, "web", "front", INTO_WEB)
    for version, share in SHARES.items():
        yield from calls(LINKERD_FRONT, "reviews", f"reviews-{version}", RATE * share, ERRORS * share)


def linkerd_without_routes() -> MeshPage:
    """Old proxies: attempts by service, no backends, no retries."""
    return MeshPage(
        "linkerd",
        tuple(linkerd_endpoints()),
        gateway="ingress-nginx.edge",
        bounds_s=in_seconds(LINKERD_MS),
        completed=None,
        limited=None,
    )


def envoy_clusters(names: Mapping[str, str], labels: Labels, limit: str) -> list[Series]:
    """Counters of plain Envoy for the clusters of `web` and `reviews`."""
    found: list[Series] = []
    for service, rate, errors, retries in (("web", INTO_WEB, 0.0, 0.0), ("reviews", RATE, ERRORS, RETRIES)):
        cluster = {**labels, "envoy_cluster_name": names[service]}
        found.append(Series("envoy_cluster_membership_total", cluster, 2, gauge=True))
        for name, value in (("total", rate + retries), ("completed", rate), ("retry", retries)):
            found.append(counter(f"envoy_cluster_upstream_rq_{name}", value, cluster))
        failed = {**cluster, "envoy_response_code_class": "5"}
        found.append(counter("envoy_cluster_upstream_rq_xx", errors, failed))
        found.append(Series("envoy_cluster_upstream_rq_active", cluster, 3, gauge=True))
        found.extend(histogram("envoy_cluster_upstream_rq_time", rate, cluster, ENVOY_MS, 1000))
        for address in ("10.0.0.1:80", "10.0.0.2:80"):
            endpoint = {**cluster, "envoy_endpoint_address": address}
            for name, value in (("total", rate / 2), ("success", (rate - errors) / 2)):
                found.append(counter(f"envoy_cluster_endpoint_rq_{name}", value, endpoint))
            found.append(Series("envoy_cluster_endpoint_rq_active", endpoint, 1, gauge=True))
    prefix = {**labels, "envoy_local_http_ratelimit_prefix": limit}
    found.append(counter("envoy_http_local_rate_limit_rate_limited", 0.0, prefix))
    return found


def envoy() -> MeshPage:
    """Plain Envoys whose clusters name both ends."""
    found = envoy_clusters({"web": "out|ingress|web", "reviews": "out|web|reviews"}, {}, "limit.web")
    route = {"envoy_virtual_host": "ingress", "envoy_route": "web"}
    found.append(counter("envoy_vhost_route_upstream_rq_completed", INTO_WEB, route))
    return MeshPage(
        "envoy",
        tuple(found),
        gateway="ingress",
        bounds_s=in_seconds(ENVOY_MS),
        caller="web",
        callee="reviews",
        retries=RETRIES,
        backends={"10.0.0.1:80": RATE / 2, "10.0.0.2:80": RATE / 2},
        entry="web",
    )


def envoy_gateway() -> MeshPage:
    """Two routes at one gateway, one of them with its backend's name in the cluster's."""
    owner = "gateway_envoyproxy_io_owning_gateway"
    labels = {f"{owner}_name": "public", f"{owner}_namespace": "edge", "namespace": "envoy-gateway-system"}
    names = {"web": "httproute/shop/web/rule/0/shop/web", "reviews": "httproute/shop/reviews/rule/0"}
    return MeshPage(
        "envoy-gateway",
        tuple(envoy_clusters(names, labels, "http_local_rate_limiter")),
        gateway="public.edge",
        bounds_s=in_seconds(ENVOY_MS),
        caller="public.edge",
        callee="httproute/shop/reviews/rule/0",
        retries=RETRIES,
        backends={"10.0.0.1:80": RATE / 2, "10.0.0.2:80": RATE / 2},
    )


def hubble() -> MeshPage:
    """Both ends of the inner edge are seen; clients from outside only arrive; `ratings` is seen at layer 4."""
    found: list[Series] = []
    callee = {"destination_workload": "reviews", "destination_namespace": "shop"}
    inner = {"source_workload": "web", "source_namespace": "shop", **callee}
    outer = {"source_workload": "", "source_namespace": "", **callee, "destination_workload": "web"}

    def flow(labels: Labels, reporter: str, status: str, rate: float) -> None:
        both = {**labels, "method": "GET", "reporter": reporter}
        found.append(
            counter("hubble_http_requests_total", rate, {**both, "protocol": "HTTP/1.1", "status": status})
        )
        found.extend(histogram("hubble_http_request_duration_seconds", rate, {**both, "status": status}, GO_S))

    flow(outer, "server", "200", INTO_WEB)
    flow(inner, "client", "200", RATE - ERRORS)
    flow(inner, "client", "503", ERRORS)
    flow(inner, "server", "200", RATE + RETRIES)
    ratings = {**inner, "destination_workload": "ratings", "verdict": "FORWARDED", "protocol": "TCP"}
    found.append(counter("hubble_flows_processed_total", 9, ratings))
    return MeshPage("hubble", tuple(found), gateway="outside", bounds_s=GO_S, unseen="shop ratings")


def opentelemetry() -> MeshPage:
    """Instrumented applications, which call services by names of several forms, and one by its address."""
    found: list[Series] = []
    front = {"service_name": "gateway", "service_namespace": "edge", "job": "edge/gateway"}
    web = {"service_name": "web", "service_namespace": "shop", "job": "shop/web"}

    def call(by: Labels, to: str, status: Labels, rate: float) -> None:
        labels = {**by, "server_address": to, "server_port": "80", **status}
        found.extend(histogram("http_client_request_duration_seconds", rate, labels, OPENTELEMETRY_S))

    good = {"http_response_status_code": "200"}
    call(front, "web.shop", good, INTO_WEB)
    call(web, "reviews", good, RATE / 2)
    call(web, REVIEWS, good, RATE / 2 - ERRORS)
    call(web, "reviews.shop.svc", {"http_response_status_code": "503", "error_type": "503"}, ERRORS / 2)
    call(web, "reviews", {"error_type": "timeout"}, ERRORS / 2)
    call(web, "10.9.8.7", good, 5)
    found.extend(histogram("http_server_request_duration_seconds", INTO_WEB, {**web, **good}, OPENTELEMETRY_S))
    return MeshPage(
        "opentelemetry", tuple(found), gateway="gateway.edge", bounds_s=OPENTELEMETRY_S, unseen="10.9.8.7"
    )


def knative() -> MeshPage:
    """One service with the names since 1.19, one with those before; two revisions."""
    found: list[Series] = [cpu("shop", "reviews-00001-deployment-6d4b75cb6d-hcmcb", 0.5)]
    for version, share in SHARES.items():
        labels = {"kn_service_name": "reviews", "kn_revision_name": version, "k8s_namespace_name": "shop"}
        for status, rate in (("200", RATE - ERRORS), ("500", ERRORS)):
            each = {**labels, "http_response_status_code": status}
            name = "kn_serving_invocation_duration_seconds"
            found.extend(histogram(name, rate * share, each, OPENTELEMETRY_S))
    old = {"service_name": "web", "revision_name": "web-00001", "namespace_name": "shop", "response_code": "200"}
    old["response_code_class"] = "2xx"
    found.append(counter("revision_app_request_count", INTO_WEB, old))
    found.extend(histogram("revision_app_request_latencies", INTO_WEB, old, ENVOY_MS, 1000))
    return MeshPage(
        "knative",
        tuple(found),
        gateway="outside",
        caller="outside",
        bounds_s=OPENTELEMETRY_S,
        backends=by_version(RATE),
        limited=None,
    )


PAGES: Mapping[str, Callable[[], MeshPage]] = {
    "istio, sidecars": istio,
    "istio, ambient": ambient,
    "linkerd": linkerd,
    "linkerd, gRPC": partial(linkerd, "grpc"),
    "linkerd, no routes": linkerd_without_routes,
    "envoy": envoy,
    "envoy-gateway": envoy_gateway,
    "hubble": hubble,
    "opentelemetry": opentelemetry,
    "knative": knative,
}
