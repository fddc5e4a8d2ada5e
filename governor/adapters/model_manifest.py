"""`models/manifest.json`: which version of a model serves, and what its files must be.

Unknown fields are refused: what this governor does not know about a model it cannot check.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from governor.errors import ModelRefused
from governor.predict.features import feature_hash

MANIFEST = "manifest.json"
SCHEMA = 1
OPSET = 18
"""Of the standard operators; tree ensembles are of ai.onnx.ml 3."""
FORECAST = "forecast"
AGAIN = "train again with governor train, or restore the file from where it was released"
_Name = Annotated[str, Field(pattern=r"^[0-9a-z][0-9a-z._-]*$")]
"""Of a file or folder: no path leads out of the store."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Trained(_Part):
    """What a model learned from."""

    source: str
    """What the job was told to read, for people."""
    begin: str
    """First and last origin that was fitted, ISO 8601 in UTC."""
    end: str
    series: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)]


class Entry(_Part):
    """The version of one model that is in use."""

    version: _Name
    opset: int
    features: str
    """Hash of the columns that the model takes: `predict.features.feature_hash`."""
    files: Mapping[_Name, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """Name in the version's folder to sha256."""
    trained: Trained
    libraries: Mapping[str, str]


class Manifest(_Part):
    """The whole file."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    models: Mapping[str, Entry]

    def text(self) -> str:
        """As it is written; the same models give the same bytes."""
        return json.dumps(self.model_dump(by_alias=True), indent=1, sort_keys=True) + "\n"


def read_manifest(models: Path) -> Manifest:
    """The manifest of the store in the folder `models`; ModelRefused if it cannot be read or is wrong."""
    path = models / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelRefused(
            f"{path}: there is no manifest, hence no model; make one with governor train"
        ) from error
    except OSError as error:
        raise ModelRefused(
            f"{path}: cannot be read ({error.strerror}); give the governor the right to"
        ) from error
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ModelRefused(f"{path}: is not JSON ({error}); {AGAIN}") from error
    newer = document.get("schema") if isinstance(document, dict) else None
    if isinstance(newer, int) and newer > SCHEMA:
        raise ModelRefused(f"{path}: was written by a newer governor (schema {newer}); use that one")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'the document'}: {one['msg']}"
            for one in error.errors()
        )
        raise ModelRefused(f"{path}: is no manifest of this governor ({said}); {AGAIN}") from error


def entry_of(models: Path, name: str) -> Entry:
    """The entry of model `name`, made for the features and the opset of this governor; else ModelRefused."""
    manifest, path = read_manifest(models), models / MANIFEST
    entry = manifest.models.get(name)
    if entry is None:
        raise ModelRefused(f"{path}: names no model {name}; make one with governor train")
    if entry.features != feature_hash():
        raise ModelRefused(
            f"{path}: {name} was trained on features {entry.features}, this governor makes {feature_hash()}; "
            "train again with this governor, or use the one that trained it"
        )
    if entry.opset != OPSET:
        raise ModelRefused(f"{path}: {name} is of opset {entry.opset}, this governor runs {OPSET}; {AGAIN}")
    return entry
