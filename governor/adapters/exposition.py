"""The Prometheus text format, line by line and no more of it than is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from governor.errors import SourceRefused

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_KEY = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})?$")


def sample_lines(text: str, source: str) -> Iterator[tuple[str, str]]:
    """Pairs of (name with labels, value as text); a time stamp after the value is left out.

    Raises SourceRefused where the page is not metrics: HTML, a line without a value, a last line without its end.
    """
    start = text.lstrip()[:1]
    if start == "<":
        raise SourceRefused(f"{source} answers with HTML, not with metrics: check address and path")
    if text and not text.endswith("\n"):
        raise SourceRefused(f"{source} sent half a page: it ends within a line")
    for line in text.splitlines():
        if not line or line[0] == "#":
            continue
        key, brace, rest = line.rpartition("} ")
        if brace:
            yield key + "}", rest.partition(" ")[0]
        else:
            name, _, rest = line.partition(" ")
            yield name, rest.partition(" ")[0]


def parse_key(key: str, source: str) -> tuple[str, dict[str, str]]:
    """Metric name and labels of one series; SourceRefused if it is none."""
    if not _KEY.match(key):
        raise SourceRefused(f"{source} does not answer with metrics: {key[:60]!r} is no series")
    name, _, labels = key.partition("{")
    return name, {k: _unescape(v) for k, v in _LABEL.findall(labels)}


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], value)
