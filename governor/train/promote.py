"""Puts a model into the store so that a kill at any moment leaves the old one or the new one, whole.

The files are written into a hidden directory, synced and renamed; then the manifest that names them is, in one step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from governor.adapters.model_store import (
    FILES,
    FORECAST,
    GRAPHS,
    MANIFEST,
    OPSET,
    SCHEMA,
    read_manifest,
)
from governor.errors import ModelRefused, TrainingError
from governor.predict.features import feature_hash


def version_of(contents: Mapping[str, bytes]) -> str:
    """Twelve hex digits of the graphs' own bytes: the same model has the same version, whoever trained it."""
    digest = hashlib.sha256()
    for name in GRAPHS:
        digest.update(contents[name])
    return digest.hexdigest()[:12]


def promote(models: Path, contents: Mapping[str, bytes], about: Mapping[str, Any]) -> str:
    """Make `contents` (all of model_store.FILES) the model in use of the store `models`; its version.

    `about` goes into the manifest beside the checksums: training range, library versions. TrainingError if the store
    cannot be written; the old model is in use then.
    """
    assert set(contents) == set(FILES)
    version = version_of(contents)
    entry = {
        "version": version,
        "opset": OPSET,
        "features": feature_hash(),
        "files": {name: hashlib.sha256(contents[name]).hexdigest() for name in sorted(contents)},
        **about,
    }
    home = models / FORECAST
    hidden = home / f".{version}.tmp"
    try:
        home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        for name, content in contents.items():
            _write(hidden / name, content)
        shutil.rmtree(home / version, ignore_errors=True)
        hidden.rename(home / version)
        _sync(home)
        text = json.dumps(_manifest(models, entry), indent=1, sort_keys=True) + "\n"
        _write(models / f".{MANIFEST}.tmp", text.encode())
        (models / f".{MANIFEST}.tmp").rename(models / MANIFEST)
        _sync(models)
    except OSError as error:
        raise TrainingError(
            f"{models}: the new model cannot be written ({error.strerror}); the old one stays in use"
        ) from error
    return version


def _manifest(models: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    try:
        others = read_manifest(models)["models"]
    except ModelRefused:
        others = {}
    return {"schema": SCHEMA, "models": {**others, FORECAST: dict(entry)}}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
