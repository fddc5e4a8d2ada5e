"""The demo as a stranger starts it, only shorter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(60), pytest.mark.usefixtures("real_envoy")]


def started(folder: Path, address: str, *more: str) -> subprocess.Popen[str]:
    # the processes of a demo are found by this folder in their command lines
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "governor", "demo", "--address", address, *more]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=-1, stderr=-1, text=True)


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


def test_a_short_demo_writes_its_report_and_picture_and_ends_with_0(tmp_path: Path, address: str) -> None:
    demo = started(tmp_path, address, "--seconds", "18", "--seed", "3", "--picture", "demo.svg")
    out, errors = demo.communicate(timeout=50)
    assert (demo.returncode, errors) == (0, "")
    assert len(re.findall(r"^ +\d+ of 18 s  sent", out, re.MULTILINE)) >= 17
    assert "slow replica" in out
    assert "report: demo-report.html" in out
    page = (tmp_path / "demo-report.html").read_text(encoding="utf-8")
    assert '<tr id="d0"' in page, "the governor changed something, and the page tells it"
    assert "cart-" in page or "ingress → frontend" in page
    assert ET.parse(tmp_path / "demo.svg").getroot().tag.endswith("svg")
    assert left_over(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"demo-report.html", "demo.svg"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_with_130(tmp_path: Path, address: str, number: signal.Signals) -> None:
    demo = started(tmp_path, address)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "of 160 s" in line and int(line.split()[0]) >= 2:
            break
    assert len(left_over(tmp_path)) >= 6
    begun = time.monotonic()
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=20)
    assert (demo.returncode, errors) == (130, "")
    assert time.monotonic() - begun < 15
    assert left_over(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_busy_port_is_named_with_its_holder(tmp_path: Path, address: str) -> None:
    first = started(tmp_path, address)
    assert first.stdout is not None
    first.stdout.readline()
    second = started(tmp_path, address)
    out, errors = second.communicate(timeout=30)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)
    assert (second.returncode, out) == (2, "")
    assert re.search(rf"port {re.escape(address)}:19000 is busy, held by envoy \(pid \d+\)", errors)
    assert "--address" in errors
