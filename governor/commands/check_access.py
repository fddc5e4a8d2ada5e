"""`governor check --plane kubernetes`: whether the API server lets this account do what the settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape as plain
from rich.table import Table

from governor.adapters.kubernetes_access import CLUSTER_WIDE, Right, allowed, needed
from governor.adapters.kubernetes_discovery import installed, present
from governor.adapters.meshes.known import all_kinds, meshes_called
from governor.commands.output import FOUND, NOTHING, settings_for, show, warn
from governor.runtime.wiring import kubernetes_api
from governor.settings import RunMode, Settings

EVERYWHERE = ""
"""As a namespace: all of them."""


def check_access(config: Path | None) -> int:
    """Ask the API server for each right that mode and meshes need; exit code 1 if one lacks.

    ControlPlaneError if the API server does not answer.
    """
    settings = settings_for(config)
    given = settings.plane.kubernetes
    api = kubernetes_api(given)
    known = meshes_called(given.meshes)
    kinds = all_kinds(known)
    served = installed(api, kinds)
    names = tuple(dict.fromkeys(mesh.name for mesh in present(known, served, named=bool(given.meshes))))
    # Of a mesh's kinds some may not be installed, and are then not used.
    away = {(kind.group, kind.plural) for kind in kinds} - {(kind.group, kind.plural) for kind in served}
    if not names:
        warn(f"no mesh is installed of {', '.join(dict.fromkeys(mesh.name for mesh in known))}")
    answers = [
        (right, namespace, allowed(api, right, namespace))
        for right in needed(names, enforce=settings.mode is RunMode.ENFORCE, elect=settings.leadership.enabled)
        if (right.group, right.resource) not in away
        for namespace in _namespaces(right, settings)
    ]
    lacking = [answer for answer in answers if not answer[2]]
    meshes = ", ".join(names) or "no mesh"
    show(f"Mode {settings.mode.value}, {meshes}, at {api.host}:")
    show(_table(answers))
    if lacking:
        warn(f"{len(lacking)} of {len(answers)} rights lack: deploy/ has a role for each mode and mesh")
    return FOUND if lacking or not names else NOTHING


def _namespaces(right: Right, settings: Settings) -> Sequence[str]:
    given = settings.plane.kubernetes
    if right.at_home:
        return (given.namespace,)
    return (EVERYWHERE,) if (right.group, right.resource) in CLUSTER_WIDE else given.namespaces or (EVERYWHERE,)


def _table(answers: Sequence[tuple[Right, str, bool]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("verb", "resource", "namespace", "allowed", "what for"):
        table.add_column(name, overflow="fold")
    for right, namespace, yes in answers:
        resource = f"{right.resource}.{right.group}" if right.group else right.resource
        row = (right.verb, resource, namespace or "(all)", "yes" if yes else "NO", right.purpose)
        table.add_row(*map(plain, row))
    return table
