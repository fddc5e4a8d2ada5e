"""Two `governor run` on one cluster: one leads, the other says whom it follows and takes over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from governor.lab.bed.daemon import free_port
from governor.lab.bed.kubernetes import KubernetesBed

PATIENCE_S = 60.0
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Instance:
    """One `governor run` in enforce mode whose source answers nothing: who leads is settled all the same."""

    def __init__(self, bed: KubernetesBed, namespace: str, folder: Path) -> None:
        self.port = free_port()
        folder.mkdir()
        settings = {
            "mode": "enforce",
            "period_s": 1,
            "source": {"prometheus": {"url": "http://127.0.0.1:1"}},
            "plane": {
                "kind": "kubernetes",
                "kubernetes": {"kubeconfig": str(bed.kubeconfig), "namespace": namespace},
            },
            "leadership": {"lease_duration_s": 4, "renew_deadline_s": 2.0, "retry_period_s": 0.5},
            "ledger": {"path": str(folder / "ledger.sqlite")},
            "health": {"port": self.port},
        }
        self.settings = folder / "settings.yaml"
        self.settings.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "governor", "run", "--config", str(self.settings)]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def page(self, path: str) -> str:
        try:
            with OPENER.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()
        except OSError:
            return ""  # it does not listen yet

    def following(self) -> str | None:
        """Whom it follows, empty if it leads, None before its page is there."""
        text = self.page("/readyz")
        return str(json.loads(text)["following"]) if text else None

    def leads(self) -> bool:
        return "\ngovernor_leader 1.0\n" in self.page("/metrics")

    def release(self, *options: str) -> subprocess.CompletedProcess[str]:
        """`governor release` by hand, with the same settings."""
        command = [sys.executable, "-m", "governor", "release", "--config", str(self.settings), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def until(what: Callable[[], Any], said: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, f"{said}: not within {PATIENCE_S:g} s"
        time.sleep(0.1)


@pytest.fixture
def start(bed: KubernetesBed, namespace: str, tmp_path: Path) -> Iterator[Callable[[str], Instance]]:
    with ExitStack() as stack:

        def begin(name: str) -> Instance:
            instance = Instance(bed, namespace, tmp_path / name)
            stack.callback(instance.end)
            return instance

        yield begin


def test_one_leads_the_other_follows_and_takes_over_at_once(start: Callable[[str], Instance]) -> None:
    first = start("first")
    until(first.leads, "the first leads")
    second = start("second")
    until(lambda: "the Lease is held by" in (second.following() or ""), "the second follows")
    assert not second.leads()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(PATIENCE_S) == 0
    until(second.leads, "the second leads")
    until(lambda: second.following() == "", "the second says so")


def test_a_release_beside_a_leader_says_that_it_writes_again(start: Callable[[str], Instance]) -> None:
    leader = start("leader")
    until(leader.leads, "it leads")
    beside = leader.release()
    assert beside.returncode == 1, beside.stderr
    assert "Nothing of the governor's is in this cluster." in beside.stdout
    assert "governs again from its next cycle on" in beside.stderr
    by_the_job = leader.release("--if-leader-gone", "900")
    assert (by_the_job.returncode, by_the_job.stderr) == (0, "")
    assert "nothing is given back" in by_the_job.stdout
    leader.process.send_signal(signal.SIGTERM)
    assert leader.process.wait(PATIENCE_S) == 0
    after = leader.release()
    assert (after.returncode, after.stderr) == (0, "")
