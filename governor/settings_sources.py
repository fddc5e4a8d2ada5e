"""Where settings come from: merged here, so that every value and every error can name its source.

Order: command line > environment > YAML file > secrets > default.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, NestedSecretsSettingsSource, SettingsError

from governor.errors import DocumentError
from governor.settings import DELIMITER, ENV_PREFIX, Settings
from governor.yaml_documents import Loc, YamlDocument, choice, describe, parse, read_text

SECRETS_DIR = "/run/secrets/governor"
_NOT_SETTINGS = re.compile(
    # GOVERNOR_CONFIG names the settings file. Kubernetes gives every pod the addresses of a Service named
    # `governor` as GOVERNOR_SERVICE_HOST, GOVERNOR_PORT_9480_TCP, ...: they are not meant for us.
    r"GOVERNOR_(CONFIG|SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)"
)


@dataclass(frozen=True)
class Layer:
    """One source of settings: its name and what it says."""

    name: str
    values: Mapping[str, Any]
    document: YamlDocument | None = None


@dataclass(frozen=True)
class Loaded:
    """The settings, and the layers they came from, strongest first."""

    settings: Settings
    layers: tuple[Layer, ...]

    def source(self, loc: Loc) -> str:
        """Which layer the value at `loc` came from."""
        layer = _layer_of(self.layers, loc)
        return _place(layer, loc) if layer else "default"

    def values(self) -> Iterator[tuple[str, str, str]]:
        """Every setting as (name, value, source); secrets are masked."""
        for loc, value in leaves(self.settings):
            yield ".".join(loc), shown(value), self.source(loc)


class _Environment(EnvSettingsSource):
    """Lists may be written as `a,b` as well as JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and value.strip()[:1] not in {"[", "{"}:
            return [part.strip() for part in value.split(",") if part.strip()]
        return super().decode_complex_value(field_name, field, value)


def load_settings(
    path: Path | None = None, given: Mapping[str, Any] | None = None, secrets_dir: str | None = SECRETS_DIR
) -> Loaded:
    """The settings of this instance; DocumentError that names the file and line or the variable at fault.

    `given` are values of the command line, nested as in the file; `path` falls back to GOVERNOR_CONFIG.
    """
    named = path or (Path(os.environ["GOVERNOR_CONFIG"]) if os.environ.get("GOVERNOR_CONFIG") else None)
    layers = (
        Layer("command line", given or {}),
        _environment(),
        _file(named),
        _secrets(secrets_dir),
    )
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge_below(merged, layer.values)
    try:
        return Loaded(Settings(**merged), layers)
    except ValidationError as error:
        raise DocumentError("\n".join(_line(e, layers) for e in error.errors())) from None


def _environment() -> Layer:
    known = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields]
    for variable in sorted(os.environ):
        if variable.startswith(ENV_PREFIX) and not _NOT_SETTINGS.fullmatch(variable):
            first = variable.split(DELIMITER, maxsplit=1)[0]
            if first not in known:
                raise DocumentError(f"environment {variable}: unknown setting{choice(first, known)}")
    try:
        return Layer("environment", _Environment(Settings)())
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = f"{ENV_PREFIX}{field[1].upper()}" if field else f"{ENV_PREFIX}*"
        raise DocumentError(f'environment {name}: not valid JSON; lists are ["a", "b"] or a,b') from error


def _file(path: Path | None) -> Layer:
    if path is None:
        return Layer("file", {})
    documents = parse(read_text(path), str(path))
    if not documents:
        return Layer(str(path), {})
    if len(documents) > 1:
        raise DocumentError(f"{path}: holds {len(documents)} documents; settings are one")
    document = documents[0]
    if not isinstance(document.data, dict):
        raise DocumentError(f"{path}, line 1: a mapping is expected here, not {type(document.data).__name__}")
    return Layer(str(path), document.data, document)


def _secrets(directory: str | None) -> Layer:
    if directory is None or not Path(directory).is_dir():
        return Layer("secrets", {})
    try:
        # A file is named as the variable without its prefix: source__prometheus__bearer_token.
        source = NestedSecretsSettingsSource(
            Settings,  # type: ignore[arg-type]  # taken at run time, and its source says so
            secrets_dir=directory,
            secrets_prefix="",
            secrets_nested_delimiter=DELIMITER,
        )
        return Layer(f"secrets {directory}", source())
    except (SettingsError, OSError) as error:
        raise DocumentError(f"secrets {directory}: cannot be read: {error}") from error


def _merge_below(merged: dict[str, Any], weaker: Mapping[str, Any]) -> None:
    for key, value in weaker.items():
        if key not in merged:
            merged[key] = dict(value) if isinstance(value, Mapping) else value
        elif isinstance(merged[key], dict) and isinstance(value, Mapping):
            merged[key] = dict(merged[key])
            _merge_below(merged[key], value)


def _has(values: Any, loc: Loc) -> bool:
    for step in loc:
        if isinstance(values, Mapping) and step in values:
            values = values[step]
        else:
            return isinstance(step, int)
    return True


def _layer_of(layers: tuple[Layer, ...], loc: Loc) -> Layer | None:
    return next((layer for layer in layers if loc and _has(layer.values, loc)), None)


def _place(layer: Layer, loc: Loc) -> str:
    if layer.document is not None:
        return f"{layer.name}, line {layer.document.line(loc)}"
    if layer.name == "environment":
        return f"environment {ENV_PREFIX}{DELIMITER.join(str(s).upper() for s in loc if isinstance(s, str))}"
    return layer.name


def _line(error: ErrorDetails, layers: tuple[Layer, ...]) -> str:
    layer = _layer_of(layers, error["loc"])
    what = describe(error, Settings).removeprefix("document: ")
    return f"{_place(layer, error['loc']) if layer else 'settings'}: {what}"


def leaves(model: BaseModel, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting of `model` as (location, value), groups opened."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel) and not isinstance(value, BaseSettings):
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def shown(value: Any) -> str:
    """A setting's value for people; secrets and header values are masked."""
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, tuple):
        return json.dumps([str(v) for v in value])
    if isinstance(value, dict):
        return json.dumps(dict.fromkeys(value, "********"))
    return "not set" if value is None else str(value)
