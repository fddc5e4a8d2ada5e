"""Promotion cut off at every step: the old model or the new one, whole, and the next job cleans up."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governor.adapters.model_manifest import FORECAST, MANIFEST, read_manifest
from governor.adapters.model_store import GRAPH, load_forecast
from governor.errors import TrainingError
from governor.train import promote as module
from governor.train.promote import promote, version_of
from tests.adapters.small_model import TRAINED, files


class Killed(BaseException):
    """Stands for SIGKILL: nothing may be done about it."""


def steps_of(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Calls `act` with a number before each write, sync and rename of a promotion."""
    count = iter(range(1000))

    def before(plain: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            act(next(count))
            return plain(*arguments)

        return wrapped

    for owner, name in (
        (module, "write_synced"),
        (module, "sync_directory"),
        (Path, "rename"),
        (Path, "replace"),
    ):
        monkeypatch.setattr(owner, name, before(getattr(owner, name)))


def number_of_steps(tmp_path: Path) -> int:
    taken: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        steps_of(patch, taken.append)
        promote(tmp_path / "counted", files(1), TRAINED, {})
    return len(taken)


def test_a_kill_at_any_step_leaves_a_whole_model_and_the_next_job_cleans_up(tmp_path: Path) -> None:
    old = promote(tmp_path / "models", files(0), TRAINED, {})
    new = version_of(files(1))
    total = number_of_steps(tmp_path)
    assert total > 8
    for fatal in range(total):
        models = tmp_path / f"killed at {fatal}"
        promote(models, files(0), TRAINED, {})

        def kill(step: int, fatal: int = fatal) -> None:
            if step == fatal:
                raise Killed

        with pytest.MonkeyPatch.context() as patch:
            steps_of(patch, kill)
            with pytest.raises(Killed):
                promote(models, files(1), TRAINED, {})
        last = fatal == total - 1
        assert load_forecast(models).name == f"{FORECAST}/{new if last else old}", fatal
        assert promote(models, files(1), TRAINED, {}) == new
        assert load_forecast(models).name == f"{FORECAST}/{new}"
        left = [path.name for folder in (models, models / FORECAST) for path in folder.iterdir()]
        assert not [name for name in left if name.startswith(".")], fatal


def test_a_real_kill_in_the_middle_leaves_the_old_model(tmp_path: Path) -> None:
    old = promote(tmp_path, files(0), TRAINED, {})
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from governor.train import promote as module\n"
        "from tests.adapters.small_model import TRAINED, files\n"
        "plain, count = module.write_synced, iter(range(100))\n"
        "def write(*arguments):\n"
        "    if next(count) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    plain(*arguments)\n"
        "module.write_synced = write\n"
        "module.promote(Path(sys.argv[1]), files(1), TRAINED, {})\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(path.name.startswith(".") for path in (tmp_path / FORECAST).iterdir())
    assert load_forecast(tmp_path).name == f"{FORECAST}/{old}"
    promote(tmp_path, files(1), TRAINED, {})
    assert not any(path.name.startswith(".") for path in (tmp_path / FORECAST).iterdir())


def test_a_full_disk_is_told_and_leaves_the_old_model(tmp_path: Path) -> None:
    for full in range(number_of_steps(tmp_path) - 1):
        models = tmp_path / f"full at {full}"
        old = promote(models, files(0), TRAINED, {})

        def fill(step: int, full: int = full) -> None:
            if step == full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.MonkeyPatch.context() as patch:
            steps_of(patch, fill)
            with pytest.raises(
                TrainingError, match=r"No space left on device.*the old one stays in use. Make room"
            ):
                promote(models, files(1), TRAINED, {})
        assert load_forecast(models).name == f"{FORECAST}/{old}"


def test_a_store_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="Not a directory"):
        promote(tmp_path / "file", files(), TRAINED, {})


def test_two_jobs_at_once_do_not_mix(tmp_path: Path) -> None:
    old = promote(tmp_path, files(0), TRAINED, {})
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(TrainingError, match="another job is writing a model"):
        promote(tmp_path, files(1), TRAINED, {})
    os.close(handle)
    assert load_forecast(tmp_path).name == f"{FORECAST}/{old}"
    promote(tmp_path, files(1), TRAINED, {})


def test_the_same_model_again_writes_nothing_into_its_folder(tmp_path: Path) -> None:
    version = promote(tmp_path, files(), TRAINED, {})
    before = (tmp_path / FORECAST / version / GRAPH).stat().st_ino
    assert promote(tmp_path, files(), TRAINED, {}) == version
    assert (tmp_path / FORECAST / version / GRAPH).stat().st_ino == before


def test_a_damaged_folder_of_the_same_version_is_replaced(tmp_path: Path) -> None:
    version = promote(tmp_path, files(), TRAINED, {})
    (tmp_path / FORECAST / version / GRAPH).write_bytes(b"")
    promote(tmp_path, files(), TRAINED, {})
    assert load_forecast(tmp_path).name == f"{FORECAST}/{version}"


def test_other_models_of_the_manifest_and_older_versions_stay(tmp_path: Path) -> None:
    old = promote(tmp_path, files(0), TRAINED, {})
    text = (tmp_path / MANIFEST).read_text()
    entry = read_manifest(tmp_path).models[FORECAST].model_dump_json()
    (tmp_path / MANIFEST).write_text(text.replace('"models": {', '"models": {"other": ' + entry + ","))
    promote(tmp_path, files(1), TRAINED, {})
    assert set(read_manifest(tmp_path).models) == {"other", FORECAST}
    assert (tmp_path / FORECAST / old / GRAPH).is_file()


def test_a_version_is_of_all_bytes_and_names() -> None:
    same = files()
    assert version_of(dict(reversed(same.items()))) == version_of(same)
    for name in same:
        assert version_of({**same, name: same[name] + b" "}) != version_of(same)
    assert version_of({"a": b"bc", "d": b""}) != version_of({"a": b"b", "cd": b""})
