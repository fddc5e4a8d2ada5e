"""Puts a model into the store so that a kill at any moment leaves the old one or the new one, whole.

    files -> hidden folder -> sync -> rename to its version -> manifest that names them, in one step

A version is named by the bytes of all its files, so that a folder with that name already holds them: what is in
use is never written to.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from governor.adapters.durable import sync_directory, write_synced
from governor.adapters.model_manifest import FORECAST, MANIFEST, OPSET, Entry, Manifest, Trained, read_manifest
from governor.adapters.model_store import REQUIRED
from governor.errors import ModelRefused, TrainingError
from governor.predict.features import feature_hash

HIDDEN = ".unfinished"
"""What a kill may leave behind begins like this; the next job takes it away."""


def version_of(contents: Mapping[str, bytes]) -> str:
    """Twelve hex digits of names and bytes of all files."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(f"{name}:{len(contents[name])}:".encode())
        digest.update(contents[name])
    return digest.hexdigest()[:12]


def promote(models: Path, contents: Mapping[str, bytes], trained: Trained, libraries: Mapping[str, str]) -> str:
    """Make `contents` (at least model_store.REQUIRED) the model in use of the store `models`; its version.

    TrainingError if the store cannot be written or another job writes to it; the old model is in use then.
    """
    lacking = REQUIRED - contents.keys()
    assert not lacking, lacking
    version = version_of(contents)
    entry = Entry(
        version=version,
        opset=OPSET,
        features=feature_hash(),
        files={name: hashlib.sha256(contents[name]).hexdigest() for name in sorted(contents)},
        trained=trained,
        libraries=dict(libraries),
    )
    home = models / FORECAST
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _alone(models):
            _clean(models, home)
            _place(home, version, contents)
            write_synced(models / f"{HIDDEN}-{MANIFEST}", _with(models, entry).text().encode())
            (models / f"{HIDDEN}-{MANIFEST}").replace(models / MANIFEST)
            sync_directory(models)
    except OSError as error:
        raise TrainingError(
            f"{models}: the new model cannot be written ({error.strerror}); the old one stays in use. Make "
            "room or give the right to write there, and train again"
        ) from error
    return version


def _place(home: Path, version: str, contents: Mapping[str, bytes]) -> None:
    """The folder `version` with `contents`; one that holds something else was damaged, and is put aside."""
    place = home / version
    if place.exists() and _holds(place, contents):
        return
    hidden = home / f"{HIDDEN}-{version}"
    hidden.mkdir()
    for name, content in contents.items():
        write_synced(hidden / name, content)
    sync_directory(hidden)
    if place.exists():
        place.rename(home / f"{HIDDEN}-damaged-{version}")
    hidden.rename(place)
    sync_directory(home)


def _holds(place: Path, contents: Mapping[str, bytes]) -> bool:
    files = [place / name for name in contents]
    return all(file.is_file() and file.read_bytes() == contents[file.name] for file in files)


def _with(models: Path, entry: Entry) -> Manifest:
    """The manifest with the forecast of `entry`; other models stay, one that cannot be used is replaced."""
    try:
        others = read_manifest(models).models
    except ModelRefused:
        others = {}
    return Manifest(models={**others, FORECAST: entry})


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    """Holds the store's lock, which ends with the process; TrainingError if another job has it."""
    handle = os.open(models, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"{models}: another job is writing a model; train again when it is done"
            ) from error
        yield
    finally:
        os.close(handle)


def _clean(models: Path, home: Path) -> None:
    for left in [*models.glob(f"{HIDDEN}*"), *home.glob(f"{HIDDEN}*")]:
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
