"""The same job on a Dask cluster gives the same bytes; a cluster that is no use is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster

from governor.errors import TrainingError
from governor.train.backend import DaskBackend
from governor.train.job import Outcome, train

from .conftest import SMALL, days, quiet

pytestmark = pytest.mark.timeout(180)


def cluster_of(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=2,
        processes=False,
        dashboard_address="127.0.0.1:0",
        protocol="tcp",
        host="127.0.0.1",
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with cluster_of(1) as made:
        yield made


def test_a_dask_cluster_makes_the_same_bytes_as_this_machine(
    trained: tuple[Path, Outcome], cluster: LocalCluster, tmp_path: Path
) -> None:
    models, local = trained
    job = replace(SMALL, backend=DaskBackend(cluster.scheduler_address))
    steps: list[str] = []
    found = train(days(8), tmp_path, job, lambda step, done, of: steps.append(step) if done == of else None)
    assert found.promoted
    assert found.version == local.version
    assert steps == ["rows", "calibration rows", "rows of crowds", "fit", "score"]
    for path in (models / "forecast" / local.version).iterdir():
        assert (tmp_path / "forecast" / local.version / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_fits_run_on_the_workers(cluster: LocalCluster, tmp_path: Path) -> None:
    before = tasks_done(cluster)
    train(days(3, services=2), tmp_path, replace(SMALL, backend=DaskBackend(cluster.scheduler_address)), quiet)
    assert tasks_done(cluster) > before


def tasks_done(cluster: LocalCluster) -> int:
    """Results that the scheduler has seen."""
    return sum(prefix.state_counts["memory"] for prefix in cluster.scheduler.task_prefixes.values())


def test_a_cluster_without_workers_is_told(tmp_path: Path) -> None:
    with cluster_of(0) as empty:
        job = replace(SMALL, backend=DaskBackend(empty.scheduler_address))
        with pytest.raises(
            TrainingError, match=r"has no workers; start some with: dask worker tcp://127\.0\.0\.1"
        ):
            train(days(3), tmp_path, job, quiet)
