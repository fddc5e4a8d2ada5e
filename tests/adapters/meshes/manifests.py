"""What users of each mesh write, in namespace `shop`: for the tests of its adapter and those on an API server.

All of it is complete, so that an API server takes it; what only one test needs stands with that test.
"""

from __future__ import annotations

CILIUM_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: books, namespace: shop, annotations: {mesh-governor.github.io/may-edit: all}}
spec: {selector: {app: books}, ports: [{name: http-web, port: 80}]}
"""
CILIUM_SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abc, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], nodeName: n1}
- {addresses: [10.0.0.2], nodeName: n2}
- {addresses: [10.0.0.3], nodeName: n2}
"""
CILIUM_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: books, namespace: shop, annotations: {mesh-governor.github.io/may-edit: all}}
spec:
  parentRefs: [{group: "", kind: Service, name: books, port: 80}]
  rules:
  - backendRefs: [{name: books-v1, port: 80, weight: 3}, {name: books-v2, port: 80}]
    retry: {codes: [503], attempts: 2}
"""
ENVOY_GATEWAY_POLICY = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: theirs, namespace: shop, labels: {team: api}}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: api}]
  loadBalancer: {type: LeastRequest}
"""
ENVOY_GATEWAY_FULL_POLICY = (
    ENVOY_GATEWAY_POLICY
    + """\
  retry: {numRetries: 4, retryOn: {triggers: [5xx]}, perRetry: {timeout: 250ms}}
  timeout: {http: {requestTimeout: 1m}}
  circuitBreaker: {maxParallelRequests: 200}
  rateLimit:
    type: Local
    local:
      rules:
      - clientSelectors: [{headers: [{name: x-user, value: john}]}]
        limit: {requests: 3, unit: Hour}
      - limit: {requests: 90, unit: Minute}
"""
)
GATEWAY_API_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop, annotations: {team: books}}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules:
  - matches: [{headers: [{name: end-user, value: jason}]}]
    backendRefs: [{name: reviews-v2, port: 9080}]
  - backendRefs:
    - {name: reviews-v1, port: 9080, weight: 90}
    - name: reviews-v2
      port: 9080
      weight: 10
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-to, value: v2}]}}]
"""
KNATIVE_HELLO = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: shop}
spec:
  template:
    spec:
      containerConcurrency: 10
      timeoutSeconds: 300
      containers: [{image: hello, env: [{name: TARGET, value: World}]}]
  traffic:
  - {revisionName: hello-00001, percent: 90}
  - {latestRevision: true, percent: 10, tag: candidate}
  - {revisionName: hello-00001, tag: old}
status: {latestReadyRevisionName: hello-00002}
"""
KNATIVE_DIRECT = """
apiVersion: serving.knative.dev/v1
kind: Route
metadata: {name: direct, namespace: shop}
spec:
  traffic:
  - {revisionName: hello-00001, percent: 50}
  - {revisionName: hello-00002, percent: 50}
"""
LINKERD_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: books, namespace: shop, annotations: {team: books}}
spec: {selector: {app: books, tier: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
LINKERD_SERVER = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: books-http, namespace: shop}
spec: {podSelector: {matchLabels: {app: books}}, port: 8080, accessPolicy: all-unauthenticated}
"""
LINKERD_LIMIT = """
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {name: books-limit, namespace: shop}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: books-http}
  total: {requestsPerSecond: 100}
  identity: {requestsPerSecond: 20}
"""
LINKERD_PROFILE = """
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: books.shop.svc.cluster.local, namespace: shop}
spec:
  routes: [{name: GET /, condition: {method: GET}, isRetryable: true, timeout: 300ms}]
  retryBudget: {retryRatio: 0.2, minRetriesPerSecond: 10, ttl: 10s}
"""
SMI_SPLIT = """
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {name: rollout, namespace: shop, annotations: {team: search}}
spec:
  service: search.shop.svc.cluster.local
  backends:
  - {service: search-v1, weight: 900}
  - {service: search-v2, weight: 100}
"""
