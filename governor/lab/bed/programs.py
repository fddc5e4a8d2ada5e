"""The programs of the bed, and where each one is kept once it is built.

No package index has these servers, so each is a tool dependency of a small go.mod, which with its go.sum pins
every byte. What is built lies outside any checkout, so that all of them share it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent / "programs"
"""A folder with go.mod and go.sum for each program, and one for the modules that are only read."""
_KUBERNETES = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Program:
    """One server: its folder below `programs/`, its package, and what the linker is told."""

    name: str
    package: str
    link: str = "-s -w"

    @property
    def folder(self) -> Path:
        """Where its go.mod is."""
        return MODULES / self.name


ETCD = Program("etcd", "go.etcd.io/etcd/server/v3")
API_SERVER = Program(
    "kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    # Without these /version says v0.0.0-master, which kubectl cannot read.
    f"-s -w -X {_KUBERNETES}.gitVersion=v1.36.3 -X {_KUBERNETES}.gitMajor=1 -X {_KUBERNETES}.gitMinor=36",
)
ISTIOD = Program("istiod", "istio.io/istio/pilot/cmd/pilot-discovery")
ENVOY_GATEWAY = Program("envoy-gateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway")
KUSTOMIZE = Program("kustomize", "sigs.k8s.io/kustomize/kustomize/v5")
"""Builds the manifests of deploy/, where no kubectl is installed, which brings it."""
KUBERNETES = (ETCD, API_SERVER)
PROGRAMS = (*KUBERNETES, ISTIOD, ENVOY_GATEWAY, KUSTOMIZE)


def cache() -> Path:
    """Where built programs are kept: `$XDG_CACHE_HOME/mesh-governor/bin`, or below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mesh-governor" / "bin"


def binary(program: Program) -> Path:
    """Where the program is, or will be, in the version that its go.mod and go.sum pin."""
    pins = hashlib.sha256((program.folder / "go.mod").read_bytes() + (program.folder / "go.sum").read_bytes())
    return cache() / f"{program.name}-{pins.hexdigest()[:12]}"


def missing(programs: tuple[Program, ...] = PROGRAMS) -> tuple[Program, ...]:
    """Programs that are not built yet."""
    return tuple(program for program in programs if not binary(program).exists())
