"""Where the parts of a job run: this machine or a Dask cluster. The result is the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import joblib

from governor.errors import TrainingError

CONNECT_S = 10.0


class Backend(Protocol):
    """What joblib's parts run on."""

    def running(self) -> AbstractContextManager[None]:
        """All that joblib runs within it runs there; TrainingError if it cannot be had."""


@dataclass(frozen=True)
class LocalBackend:
    """Processes of this machine; one job runs all in this process."""

    jobs: int = 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """See Backend."""
        with joblib.parallel_config(backend="loky", n_jobs=self.jobs):
            yield


@dataclass(frozen=True)
class DaskBackend:
    """Workers of the cluster whose scheduler is at `address`, such as tcp://127.0.0.1:8786.

    They need the same versions of mesh-governor[dask] as this machine.
    """

    address: str

    @contextmanager
    def running(self) -> Iterator[None]:
        """See Backend."""
        try:
            from distributed import Client
        except ImportError as error:
            raise TrainingError(
                f"--backend dask needs {error.name}, which is not installed; install it with: "
                "pip install 'mesh-governor[dask]'"
            ) from error
        try:
            client = Client(self.address, timeout=CONNECT_S)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise TrainingError(
                f"the Dask scheduler at {self.address} cannot be reached ({error}); is it running, and is "
                "--address right, as in tcp://127.0.0.1:8786?"
            ) from error
        with client:
            if not client.scheduler_info()["workers"]:
                raise TrainingError(
                    f"the Dask scheduler at {self.address} has no workers; start some with: dask worker "
                    f"{self.address}"
                )
            with joblib.parallel_config(backend="dask"):
                yield
