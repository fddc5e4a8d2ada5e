"""Child processes that never outlive the lab.

Linux ends a child when the thread that started it ends, if the child asks for it
(PR_SET_PDEATHSIG; see prctl(2)), so all children are started from one thread that lives as long as the
lab. Envoy does not ask, so a few lines of Python do it for it before they become Envoy. Our own
children also read their standard input, which closes when the parent dies.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import IO

from governor.errors import LabError

_PR_SET_PDEATHSIG = 1
GRACE_S = 3.0
"""How long a child may take to end after SIGTERM before it is killed."""

_TIED = (
    "import ctypes, os, signal, sys; "
    f"ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, signal.SIGTERM); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
Child = subprocess.Popen[str]
_Start = tuple[Callable[[], Child], "Future[Child]"]


def tied(command: list[str]) -> list[str]:
    """The command line that runs `command` so that it ends with the thread that starts it."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _TIED, *command]


class Nursery:
    """Starts children from one long-lived thread and ends them all, last started first."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[_Start | None] = queue.SimpleQueue()
        self._children: list[Child] = []
        self._files: list[IO[str]] = []
        self._thread = threading.Thread(target=self._serve, name="lab-nursery", daemon=True)
        self._thread.start()

    def start(
        self, command: list[str], log: Path, *, pipes: bool, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start `command` in its own process group, so that Ctrl-C reaches only the parent.

        With `pipes` its standard input and output are pipes to us; errors go to `log`. `environment` goes on top
        of our own.
        """
        errors = log.open("a", encoding="utf-8")
        self._files.append(errors)

        def spawn() -> Child:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else errors,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                text=True,
                bufsize=1,
                process_group=0,
            )

        future: Future[Child] = Future()
        self._requests.put((spawn, future))
        try:
            child = future.result()
        except OSError as error:
            raise LabError(f"cannot start {command[0]}: {error}") from error
        self._children.append(child)
        return child

    def close(self) -> None:
        """End all children and wait until they are gone; may be called again if interrupted."""
        children = self._children[::-1]
        for child in children:
            if child.poll() is None:
                child.terminate()
        for child in children:
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    _close_quietly(pipe)
        self._requests.put(None)
        self._thread.join()
        for file in self._files:
            file.close()
        self._files.clear()
        self._children.clear()

    def _serve(self) -> None:
        while (request := self._requests.get()) is not None:
            spawn, future = request
            try:
                future.set_result(spawn())
            except OSError as error:
                future.set_exception(error)


def _close_quietly(pipe: IO[str]) -> None:
    with suppress(BrokenPipeError):  # unsent input of a child that is already gone
        pipe.close()


def tie_to_parent() -> None:
    """Called by our own children first thing: end when the parent does, leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
