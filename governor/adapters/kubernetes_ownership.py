"""Who holds a field of an object: from its managedFields, and from the marks of tools that rewrite it.

Source: Kubernetes, Server-Side Apply, "Field management" (the FieldsV1 format is described with the API type).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governor.adapters.kubernetes_edits import FieldPath
from governor.adapters.kubernetes_objects import Body, annotations_of, labels_of
from governor.knobs import Knob

MANAGER = "mesh-governor"
MAY_EDIT = "mesh-governor.github.io/may-edit"
"""Annotation by which an object's owner lets the governor change what the owner has set: knob names, or `all`."""
MANAGED_BY = "app.kubernetes.io/managed-by"
ALL = "all"


def manager_of(knob: Knob) -> str:
    """The field manager for one knob: each knob is applied, and let go, without touching the others."""
    return f"{MANAGER}-{knob.value}"


def is_ours(manager: str) -> bool:
    """Whether this field manager is the governor."""
    return manager == MANAGER or manager.startswith(f"{MANAGER}-")


def is_own(body: Body) -> bool:
    """Whether the governor made this object."""
    return labels_of(body).get(MANAGED_BY) == MANAGER


def owners(body: Body, path: FieldPath) -> tuple[str, ...]:
    """Managers of the leaf at `path`, by name; of the list where the path leads through an atomic one."""
    entries = body.get("metadata", {}).get("managedFields") or ()
    return tuple(
        sorted(
            {
                str(entry.get("manager", "unknown"))
                for entry in entries
                if not entry.get("subresource") and _holds(entry.get("fieldsV1") or {}, path)
            }
        )
    )


def _holds(fields: Mapping[str, Any], path: FieldPath) -> bool:
    for part in path:
        if isinstance(part, int):
            # Items of a list of the kind `map` have keys of their own (k:{...}); an atomic list has none.
            return not any(key.startswith("k:") for key in fields)
        if f"f:{part}" not in fields:
            return False
        fields = fields[f"f:{part}"]
        if not fields:
            return True
    return True


def may_edit(body: Body, knob: Knob) -> bool:
    """Whether the object's owner has let the governor change this knob's fields on it."""
    given = {part.strip() for part in annotations_of(body).get(MAY_EDIT, "").split(",")}
    return ALL in given or knob.value in given


def strange_opt_in(body: Body) -> tuple[str, ...]:
    """Words in the opt-in annotation that name no knob: typing errors, to be shown."""
    known = {ALL, "", *(knob.value for knob in Knob)}
    return tuple(
        part.strip() for part in annotations_of(body).get(MAY_EDIT, "").split(",") if part.strip() not in known
    )


def rewriter(body: Body) -> str | None:
    """A tool that shifts this object's weights by itself, by name and mark; None if there is none."""
    managers = {str(entry.get("manager", "")) for entry in body.get("metadata", {}).get("managedFields") or ()}
    marks = annotations_of(body)
    if "flagger" in managers or any(key.startswith("flagger.kubernetes.app/") for key in marks):
        return "Flagger"
    owned_by = {str(owner.get("kind")) for owner in body.get("metadata", {}).get("ownerReferences") or ()}
    if "Canary" in owned_by:
        return "Flagger (its Canary owns the object)"
    if any(name.startswith("rollouts-controller") for name in managers) or any(
        key.startswith(("rollouts.argoproj.io/", "rollout.argoproj.io/")) for key in {**marks, **labels_of(body)}
    ):
        return "Argo Rollouts"
    return None


def delivered_by(body: Body) -> str | None:
    """The GitOps tool that applies this object, by name; None if there is no mark of one."""
    managers = {str(entry.get("manager", "")) for entry in body.get("metadata", {}).get("managedFields") or ()}
    marks = {**annotations_of(body), **labels_of(body)}
    if "argocd.argoproj.io/tracking-id" in marks or any(m.startswith("argocd") for m in managers):
        return "Argo CD"
    if any(key.startswith(("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")) for key in marks):
        return "Flux"
    if marks.get(MANAGED_BY) == "Helm":
        return "Helm"
    return None
