"""Results go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from governor.errors import DocumentError
from governor.runtime.logging import configure
from governor.settings import Settings
from governor.settings_sources import load_settings

NOTHING, FOUND, ERROR, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


def show(what: RenderableType) -> None:
    """Print a table or a text to stdout."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=PLAIN_WIDTH)
    console.print(what)


def warn(text: str) -> None:
    """One line to stderr."""
    print(text, file=sys.stderr)


def counted(number: int, what: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def settings_for(config: Path | None, given: Mapping[str, Any] | None = None) -> Settings:
    """Settings with the command line on top, and logs set up by them."""
    settings = load_settings(config, given).settings
    configure(settings.log)
    return settings


def given_source(source_url: str | None, dialect: str | None, envoy_admin: list[str]) -> dict[str, Any]:
    """The options that name a source, nested as in the settings file; DocumentError if they name two."""
    if source_url and envoy_admin:
        raise DocumentError("--source-url and --envoy-admin name two sources; give one of them")
    source: dict[str, Any] = {}
    if source_url or dialect:
        source["prometheus"] = {k: v for k, v in (("url", source_url), ("dialect", dialect)) if v}
    if source_url:
        source["kind"] = "prometheus"
    elif envoy_admin:
        source["kind"] = "envoy"
    if envoy_admin:
        source["envoy"] = {"admin_urls": envoy_admin}
    return {"source": source} if source else {}
