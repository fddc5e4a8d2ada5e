"""Frames kept as Parquet, to be looked at again later.

A recording is a directory of parts, `000000001.parquet` and so on: one frame each, whole in itself. A Parquet
file can be read only once its footer is there, so a part is written under a hidden name, synced and then renamed:
Ctrl-C or a kill loses at most the frame that was being written. One part can also be read alone, and so can a
file of many rows, which `join` makes. Source: Apache Parquet, File Format.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from governor.adapters.durable import sync_directory
from governor.adapters.recording_rows import SCHEMA, check, to_frame, to_table
from governor.domain import MeshFrame
from governor.errors import SourceError, SourceRefused

_FORM: Mapping[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}


class RecordingEnded(SourceError):  # noqa: N818 - reads as what happened
    """All frames of a recording have been read."""


class RecordingSource:
    """MetricSource over the recording at `path`, a directory or one Parquet file: oldest frame first.

    Raises SourceError if there is nothing at `path`, and SourceRefused if what is there is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        if not path.exists():
            raise SourceError(
                f"{path}: there is no recording here; name the directory that frames were written to"
            )
        parts = _parts(path) if path.is_dir() else [path]
        if not parts:
            raise SourceRefused(f"{path}: this directory holds no frame of a recording (no *.parquet)")
        _open(parts[0]).close()
        self._frames = _frames(parts)

    def observe(self, window_s: float) -> MeshFrame:  # noqa: ARG002 - a frame keeps the window it was recorded with
        """The next frame, whatever `window_s`; RecordingEnded when all have been read."""
        frame = next(self._frames, None)
        if frame is None:
            raise RecordingEnded(f"{self.path}: the recording is at its end, all {self._read} frames were read")
        self._read += 1
        return frame

    def close(self) -> None:
        """Release the open part; the recording is at its end then."""
        self._frames = iter(())


class RecordingWriter:
    """Appends frames to the recording in directory `path`, which is made or continued; one writer at a time.

    Raises SourceError if the directory cannot be written or another process records into it, and SourceRefused if
    it holds Parquet files that are no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SourceError(f"{path}: cannot record here ({error.strerror}); name another directory") from error
        try:
            self._last = self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def frames(self) -> int:
        """Parts that the directory holds, those of earlier writers included."""
        return len(_parts(self.path))

    def append(self, frame: MeshFrame) -> Path:
        """Write one frame durably and return its part, or raise SourceError and leave no part."""
        part = self.path / f"{self._last + 1:09}.parquet"
        try:
            table = to_table(frame)
            with _whole(part) as file:
                pq.write_table(table, file, **_FORM)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{part}: this frame cannot be recorded: {error}; is the disk full?") from error
        self._last += 1
        return part

    def close(self) -> None:
        """Let another process record into this directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin(self) -> int:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SourceError(
                f"{self.path}: another process is recording here; name another directory"
            ) from error
        parts = _parts(self.path)
        if not parts:
            return 0
        _open(parts[-1]).close()
        if not parts[-1].stem.isdecimal():
            raise SourceRefused(f"{parts[-1]}: is not named as a part is; name another directory to record into")
        return int(parts[-1].stem)


def join(directory: Path, file: Path) -> int:
    """Write all parts in `directory` as the one new Parquet file `file`; the number of frames in it.

    Raises SourceError if `file` exists or cannot be written, and SourceRefused if a part is damaged; the parts
    are left as they are, and `file` is there whole or not at all.
    """
    if file.exists():
        raise SourceError(f"{file}: is there already and is not overwritten; name another file")
    parts = _parts(directory)
    try:
        with _whole(file) as out, pq.ParquetWriter(out, SCHEMA, **_FORM) as writer:
            for part in parts:
                with _open(part) as one:
                    writer.write_table(one.read())
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{file}: the parts in {directory} cannot be joined into it: {error}") from error
    return len(parts)


def _parts(directory: Path) -> list[Path]:
    return sorted(part for part in directory.glob("*.parquet") if not part.name.startswith("."))


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that is at `path`, on disk, once the block has ended well, and nowhere if it has not."""
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        with hidden.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(path)
        sync_directory(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def _open(part: Path) -> pq.ParquetFile:
    """The part, its kind, version and columns checked."""
    try:
        file = pq.ParquetFile(part, page_checksum_verification=True)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise SourceRefused(f"{part}: is no whole Parquet file ({error})") from error
    try:
        check(part, file.schema_arrow)
    except BaseException:
        file.close()
        raise
    return file


def _frames(parts: list[Path]) -> Iterator[MeshFrame]:
    for part in parts:
        with _open(part) as file:
            read, rows = 0, file.metadata.num_rows
            try:
                for batch in file.iter_batches(batch_size=1):
                    read += 1
                    yield to_frame(part, read, batch)
            except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
                raise SourceRefused(f"{part}: is damaged ({error})") from error
            # Damage in the header of a page can make Arrow stop early without an error.
            if read != rows:
                raise SourceRefused(f"{part}: is damaged (it should hold {rows} frames, and {read} can be read)")
