"""A real Prometheus as a process on 127.0.0.1."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import requests


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Prometheus:
    """One process of Prometheus with its data in `directory`, or in `tsdb`."""

    def __init__(
        self, binary: str, directory: Path, jobs: list[dict[str, object]], tsdb: Path | None = None
    ) -> None:
        directory.mkdir()
        (directory / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(
            [
                binary,
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={tsdb or directory / 'tsdb'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=warn",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self) -> None:
        session = requests.Session()
        session.trust_env = False
        deadline = time.monotonic() + 20
        with session:
            while True:
                assert self._process.poll() is None, "Prometheus ended at once: see its log"
                assert time.monotonic() < deadline, "Prometheus does not get ready"
                try:
                    if session.get(f"{self.url}/-/ready", timeout=1).ok:
                        return
                except requests.ConnectionError:
                    pass
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
