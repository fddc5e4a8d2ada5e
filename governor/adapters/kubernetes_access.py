"""What the governor may ask of a Kubernetes API: the least that each mode and mesh needs.

One table, for `governor check --plane kubernetes`, which asks the API server whether each right is there, and for
the roles in deploy/, which a test holds to it. No role names secrets, and none has a wildcard.
Source: Kubernetes, RBAC authorization; authorization.k8s.io/v1 SelfSubjectAccessReview.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from governor.adapters.kubernetes_api import KubernetesApi
from governor.adapters.kubernetes_discovery import CORE
from governor.adapters.kubernetes_objects import Kind, Ref
from governor.adapters.kubernetes_ownership import MANAGER
from governor.adapters.meshes.known import MESHES, all_kinds, meshes_called

LOOK = ("get", "list")
EDIT = ("patch",)
"""Leaves of what others own: server-side apply and JSON Patch are both this verb."""
OWN = ("create", "delete", "patch")
"""Whole objects of the governor's own."""
REVIEW = Kind(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)

Resource = tuple[str, str]
"""API group (empty: core) and plural name."""

_ISTIO, _LINKERD, _GATEWAY = "networking.istio.io", "policy.linkerd.io", "gateway.networking.k8s.io"
_HTTP_ROUTES, _GRPC_ROUTES = (_GATEWAY, "httproutes"), (_GATEWAY, "grpcroutes")
_POLICIES = ("gateway.envoyproxy.io", "backendtrafficpolicies")
_BUDGETS = ("gateway.networking.x-k8s.io", "xbackendtrafficpolicies")

CLUSTER_WIDE: frozenset[Resource] = frozenset(
    (kind.group, kind.plural) for kind in (*CORE, *all_kinds(MESHES)) if not kind.namespaced
)
"""Resources that are in no namespace."""
WRITE: Mapping[str, Mapping[Resource, tuple[str, ...]]] = {
    "istio": {
        (_ISTIO, "virtualservices"): OWN,
        (_ISTIO, "destinationrules"): OWN,
        (_ISTIO, "envoyfilters"): OWN,
        (_ISTIO, "serviceentries"): EDIT,
    },
    "istio-ambient": {
        (_ISTIO, "virtualservices"): OWN,
        (_ISTIO, "destinationrules"): OWN,
        _HTTP_ROUTES: EDIT,
        _GRPC_ROUTES: EDIT,
    },
    "linkerd": {
        ("", "services"): EDIT,
        (_LINKERD, "httplocalratelimitpolicies"): OWN,
        (_LINKERD, "httproutes"): EDIT,
        ("linkerd.io", "serviceprofiles"): EDIT,
        _HTTP_ROUTES: EDIT,
        _GRPC_ROUTES: EDIT,
    },
    "gateway-api": {_HTTP_ROUTES: EDIT, _GRPC_ROUTES: EDIT, _BUDGETS: OWN},
    "envoy-gateway": {_POLICIES: OWN, _HTTP_ROUTES: EDIT, _GRPC_ROUTES: EDIT},
    "cilium": {("cilium.io", "ciliumenvoyconfigs"): OWN, _HTTP_ROUTES: EDIT, _GRPC_ROUTES: EDIT},
    "smi": {("split.smi-spec.io", "trafficsplits"): EDIT},
    "knative": {("serving.knative.dev", "services"): EDIT, ("serving.knative.dev", "routes"): EDIT},
}
"""By mesh, what is written and how. RBAC cannot tell the governor's own objects from others of their kind."""


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, everywhere or only in the governor's own namespace."""

    group: str
    resource: str
    verb: str
    at_home: bool = False
    purpose: str = ""


def to_read(meshes: Iterable[str]) -> tuple[Right, ...]:
    """What seeing these meshes needs, in any mode."""
    wanted = [(kind, "which services there are") for kind in CORE]
    wanted += [(kind, f"knobs of {name}") for name in meshes for kind in all_kinds(meshes_called([name]))]
    return _once(
        Right(kind.group, kind.plural, verb, purpose=purpose) for kind, purpose in wanted for verb in LOOK
    )


def to_write(mesh: str) -> tuple[Right, ...]:
    """What governing one mesh needs besides `to_read`."""
    return tuple(
        Right(group, plural, verb, purpose=f"governing {mesh}")
        for (group, plural), verbs in WRITE[mesh].items()
        for verb in verbs
    )


def to_tell() -> tuple[Right, ...]:
    """Events: one stands in the namespace of the object that it is about."""
    return (Right("events.k8s.io", "events", "create", purpose="events on what was changed"),)


def to_see_images() -> tuple[Right, ...]:
    """What is kept for restoring tells the operators' own values, in any mode."""
    return (Right("", "configmaps", "list", at_home=True, purpose="values from before the governor"),)


def to_keep_images() -> tuple[Right, ...]:
    """Keeping what is needed for restoring."""
    return tuple(
        Right("", "configmaps", verb, at_home=True, purpose="values from before the governor") for verb in OWN
    )


def to_lead() -> tuple[Right, ...]:
    """Holding the Lease."""
    verbs = ("get", "create", "update")
    return tuple(
        Right("coordination.k8s.io", "leases", verb, at_home=True, purpose="leadership") for verb in verbs
    )


def to_restore(meshes: Iterable[str]) -> tuple[Right, ...]:
    """`governor release --if-leader-gone`: give back what others own, delete what is the governor's."""
    back = [
        Right(group, plural, verb, purpose=f"giving {mesh} back")
        for mesh in meshes
        for (group, plural), verbs in WRITE[mesh].items()
        for verb in ("get", *verbs)
        if verb != "create"
    ]
    images = [
        Right("", "configmaps", verb, at_home=True, purpose="what is to be given back")
        for verb in ("list", "delete")
    ]
    lease = Right("coordination.k8s.io", "leases", "get", at_home=True, purpose="whether the leader is gone")
    return _once([*back, *images, lease])


def needed(meshes: Sequence[str], *, enforce: bool, elect: bool) -> tuple[Right, ...]:
    """All that a governor of these meshes needs."""
    rights = [*to_read(meshes), *to_see_images()]
    if enforce:
        rights += [right for mesh in meshes for right in to_write(mesh)]
        rights += [*to_tell(), *to_keep_images()]
        rights += to_lead() if elect else ()
    return _once(rights)


def allowed(api: KubernetesApi, right: Right, namespace: str) -> bool:
    """Whether who asks has this right in `namespace` (empty: in all); ControlPlaneError without an answer."""
    attributes = {"group": right.group, "resource": right.resource, "verb": right.verb, "namespace": namespace}
    body = {
        "apiVersion": REVIEW.api_version,
        "kind": REVIEW.kind,
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.create(Ref(REVIEW, "", ""), body, MANAGER)
    return bool(answer["status"].get("allowed"))


def _once(rights: Iterable[Right]) -> tuple[Right, ...]:
    found: dict[tuple[str, str, str, bool], Right] = {}
    for right in rights:
        found.setdefault((right.group, right.resource, right.verb, right.at_home), right)
    return tuple(found.values())
