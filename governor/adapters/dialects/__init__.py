"""Tables of metric names and queries, as data."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def dialect(name: str) -> dict[str, Any]:
    """The table `name` as it stands in its file; read once."""
    text = files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table
