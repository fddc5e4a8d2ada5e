"""Manifests as kustomize builds them."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.lab.bed.programs import KUSTOMIZE, binary

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OVERLAYS = ("recommend", "enforce", "retrain")
Manifest = dict[str, Any]


def built(folder: Path) -> list[Manifest]:
    """All objects of one kustomization, in the order of kustomize."""
    if shutil.which("kubectl"):
        return _built("kubectl", "kustomize", folder)
    if binary(KUSTOMIZE).exists():
        return _built(str(binary(KUSTOMIZE)), "build", folder)
    reason = "neither kubectl nor kustomize is here: scripts/e2e builds what is missing"
    if os.environ.get("E2E_MUST_RUN"):
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _built(program: str, verb: str, folder: Path) -> list[Manifest]:
    done = subprocess.run([program, verb, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def overlay(name: str) -> list[Manifest]:
    return built(DEPLOY / "overlays" / name)


def with_components(folder: Path, base: str, *names: str) -> list[Manifest]:
    """An overlay with components that it does not name itself, as a user adds them; `folder` is a new one."""
    for part in ("base", "components", "overlays"):
        shutil.copytree(DEPLOY / part, folder / part)
    top = folder / "top"
    top.mkdir()
    components = [f"../components/{name}" for name in names]
    document = {"kind": "Kustomization", "resources": [f"../overlays/{base}"], "components": components}
    (top / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return built(top)


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def pod_templates(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Pod templates by the name of what makes the pods."""
    found = {}
    for manifest in manifests:
        spec = manifest.get("spec") or {}
        if manifest["kind"] == "Deployment":
            found[manifest["metadata"]["name"]] = spec["template"]
        elif manifest["kind"] == "CronJob":
            found[manifest["metadata"]["name"]] = spec["jobTemplate"]["spec"]["template"]
    return found
