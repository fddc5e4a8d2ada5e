"""Writing the file-based discovery resources Envoy watches: temporary file, then rename."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Resource = dict[str, Any]


def path_source(path: Path) -> Resource:
    """ConfigSource that makes Envoy watch one file."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def write_resources(path: Path, resources: Sequence[Mapping[str, Any]]) -> None:
    """Replace `path` with a discovery response holding `resources`.

    Envoy reacts to a rename into place only; a write in place is ignored.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"resources": list(resources)})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` with `content` as JSON, atomically."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)
