"""The demo as a stranger starts it, only shorter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

Start = Callable[..., subprocess.Popen[str]]
pytestmark = [pytest.mark.envoy, pytest.mark.timeout(150), pytest.mark.usefixtures("real_envoy")]


@pytest.fixture
def start(tmp_path: Path, address: str) -> Iterator[Start]:
    """Starts a demo in the test's folder; what still runs after the test is ended."""
    demos = []

    def begin(*more: str) -> subprocess.Popen[str]:
        # the processes of a demo are found by this folder in their command lines
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-m", "governor", "demo", "--address", address, *more]
        demos.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True))
        return demos[-1]

    yield begin
    for demo in demos:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
        with suppress(ValueError):  # its output was already read to the end
            demo.communicate(timeout=20)


def wait_for_seconds(demo: subprocess.Popen[str], least: int) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if "of 160 s" in line and int(line.split()[0]) >= least:
            return
    raise AssertionError(f"the demo ended early: {demo.communicate()[1]}")


def left_over(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        except OSError:
            continue  # ended meanwhile
        if str(folder) in line:
            found.append(line)
    return found


def test_a_short_demo_writes_its_report_and_picture_and_ends_with_0(tmp_path: Path, start: Start) -> None:
    demo = start("--seconds", "16", "--seed", "3", "--picture", "demo.svg")
    out, errors = demo.communicate(timeout=100)
    assert (demo.returncode, errors) == (0, "")
    assert len(re.findall(r"^ +\d+ of 16 s  sent", out, re.MULTILINE)) >= 15
    assert "slow replica" in out
    assert "report: demo-report.html" in out
    page = (tmp_path / "demo-report.html").read_text(encoding="utf-8")
    assert '<tr id="d0"' in page, "the governor changed something, and the page tells it"
    assert "cart-" in page or "ingress → frontend" in page
    assert ET.parse(tmp_path / "demo.svg").getroot().tag.endswith("svg")
    assert left_over(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"demo-report.html", "demo.svg"}


def test_an_interrupt_ends_everything_with_130(tmp_path: Path, start: Start) -> None:
    demo = start()
    wait_for_seconds(demo, 2)
    ends_with_130(demo, signal.SIGINT, tmp_path)


def ends_with_130(demo: subprocess.Popen[str], number: signal.Signals, folder: Path) -> None:
    assert len(left_over(folder)) >= 6
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=20)
    assert (demo.returncode, errors) == (130, "")
    assert left_over(folder) == []
    assert list(folder.iterdir()) == []


def test_a_busy_port_is_named_with_its_holder_and_the_first_demo_goes_on(
    tmp_path: Path, start: Start, address: str
) -> None:
    first = start()
    wait_for_seconds(first, 1)
    second = start()
    out, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "report:" not in out
    assert re.search(rf"port {re.escape(address)}:19000 is busy, held by envoy \(pid \d+\)", errors)
    assert "--address" in errors
    ends_with_130(first, signal.SIGTERM, tmp_path)
