"""The discovery files on disk: read with a cache, replaced as a whole by a rename.

    rtds.json   cds.json   rds/*.json   eds/*.json   ecds/*.json

Envoy reacts to a rename into place and to nothing else. Source: Envoy, xDS configuration API overview,
"Dynamic resources from a filesystem".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from governor.errors import ControlPlaneError

SINGLE = ("rtds", "cds")
MANY = ("rds", "eds", "ecds")
Document = dict[str, Any]


class Stamp(NamedTuple):
    """What changes when a file does; the inode tells a rename within one tick of the clock."""

    inode: int
    mtime_ns: int
    size: int


@dataclass(frozen=True, eq=False)
class XdsFile:
    """One discovery file as it was read."""

    path: Path
    kind: str
    """rtds, cds, rds, eds or ecds."""
    stamp: Stamp
    content: bytes
    document: Document

    @property
    def resources(self) -> list[Document]:
        """Its resources, as on disk."""
        found: list[Document] = self.document["resources"]
        return found


class XdsDirectory:
    """All discovery files below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[Path, XdsFile] = {}

    def load(self) -> Mapping[Path, XdsFile]:
        """Every file, parsed again only if it changed; ControlPlaneError naming a file that cannot be read."""
        found: dict[Path, XdsFile] = {}
        try:
            for kind, entry in self._entries():
                stamp = _stamp(entry.stat())
                path = Path(entry.path)
                known = self._files.get(path)
                found[path] = known if known and known.stamp == stamp else _read(path, kind, stamp)
        except OSError as error:
            raise ControlPlaneError(f"{self.directory}: {error}; nothing was written") from error
        if not found:
            raise ControlPlaneError(
                f"{self.directory} holds no discovery files (rtds.json, cds.json, rds/, eds/, ecds/): "
                "set plane.directory to where this Envoy reads them from"
            )
        self._files = found
        return found

    def _entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        wanted = {f"{kind}.json": kind for kind in SINGLE}
        with os.scandir(self.directory) as top:
            entries = sorted(top, key=lambda e: e.name)
        for entry in entries:
            if entry.name in wanted:
                yield wanted[entry.name], entry
            elif entry.name in MANY and entry.is_dir():
                with os.scandir(entry.path) as inner:
                    yield from ((entry.name, e) for e in sorted(inner, key=lambda e: e.name) if _is_resource(e))

    def replace(self, path: Path, content: bytes) -> None:
        """Move `content` into place of `path`: owner's mode kept, on disk before it is seen.

        Raises ControlPlaneError, with the old file in place, if the directory cannot be written.
        """
        if path.is_symlink():
            raise ControlPlaneError(
                f"{path} is a symbolic link (a mounted ConfigMap?): the governor needs files it can replace; "
                "nothing was written"
            )
        temporary = path.with_name(f".{path.name}.governor")
        try:
            with temporary.open("wb") as file:
                os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise ControlPlaneError(f"{path} cannot be replaced: {error}; the old file is in place") from error


def serialise(document: Document) -> bytes:
    """A discovery response as it is written to disk."""
    return (json.dumps(document, indent=1) + "\n").encode()


def _is_resource(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".json") and not entry.name.startswith(".")


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_ino, status.st_mtime_ns, status.st_size)


def _read(path: Path, kind: str, stamp: Stamp) -> XdsFile:
    content = path.read_bytes()
    try:
        document = json.loads(content)
    except ValueError as error:
        raise _broken(path, f"is not JSON ({error})") from error
    resources = document.get("resources") if isinstance(document, dict) else None
    if not isinstance(resources, list) or not all(isinstance(r, dict) for r in resources):
        raise _broken(path, "is no discovery response: it has no list 'resources'")
    return XdsFile(path, kind, stamp, content, document)


def _broken(path: Path, what: str) -> ControlPlaneError:
    return ControlPlaneError(
        f"{path} {what}; nothing was written. Envoy keeps what it took last: put a good file in place with "
        "a rename (mv), then the governor goes on"
    )
