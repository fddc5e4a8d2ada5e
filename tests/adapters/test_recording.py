"""Recordings: what was seen comes back as it was, and what is no recording is refused by name."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from governor.adapters.recording import RecordingSource, RecordingWriter
from governor.domain import (
    ApiSignals,
    BackendSignals,
    EdgeSignals,
    Gap,
    GapReason,
    MeshFrame,
    MeshIndex,
    RateSamples,
    ServiceSignals,
)
from governor.errors import SourceError, SourceRefused

INDEX = MeshIndex(
    services=("in", "web", "päge"),
    edges=("a", "b"),
    edge_caller=np.array([0, 1], np.int32),
    edge_callee=np.array([1, 2], np.int32),
    backends=("10.0.0.1:80",),
    backend_edge=np.array([1], np.int32),
    apis=("shop.high", "shop.low"),
    api_edge=np.array([0, 1], np.int32),
)
TABLES = {"service": ServiceSignals, "edge": EdgeSignals, "backend": BackendSignals, "api": ApiSignals}
NOTHING = MeshIndex((), (), np.empty(0, np.int32), np.empty(0, np.int32))


def frame(at: float = 1.0, index: MeshIndex = INDEX) -> MeshFrame:
    """Signals that differ everywhere, with a NaN in each array of more than one value."""
    sizes = dict(zip(TABLES, map(len, (index.services, index.edges, index.backends, index.apis)), strict=True))
    rng = np.random.default_rng(int(at * 1000))
    tables: dict[str, Any] = {}
    for name, table in TABLES.items():
        arrays = {f.name: rng.normal(size=sizes[name]).astype(np.float32) for f in fields(table)}
        for array in arrays.values():
            array[1:2] = np.nan
        tables[name] = table(**arrays)
    gaps = (Gap("edge.rate", "b", GapReason.RESET, "at 12 s"), Gap("api.offered", "shop.low", GapReason.STALE))
    samples = RateSamples(
        rng.normal(size=(4, sizes["api"])).astype(np.float32),
        np.full((4, sizes["service"]), np.nan, np.float32),
        0.5,
    )
    trust = {"edge.rate": 0.5, "service.cpu_used": 1.0}
    return MeshFrame(at, 15.0, index, **tables, age_s=0.25, trust=trust, gaps=gaps, samples=samples)


def same(one: MeshFrame, other: MeshFrame) -> None:
    """Every field equal, bit by bit."""
    for f in fields(MeshFrame):
        mine, theirs = getattr(one, f.name), getattr(other, f.name)
        if not hasattr(mine, "__dataclass_fields__"):
            assert mine == theirs, f.name
            continue
        for g in fields(mine):
            x, y = getattr(mine, g.name), getattr(theirs, g.name)
            if not isinstance(x, np.ndarray):
                assert x == y, g.name
                continue
            assert (x.dtype, x.shape) == (y.dtype, y.shape), g.name
            assert x.tobytes() == y.tobytes(), g.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "recording"


@pytest.fixture
def writer(path: Path) -> Iterator[RecordingWriter]:
    made = RecordingWriter(path)
    yield made
    made.close()


def test_frames_come_back_one_by_one_oldest_first_until_the_end(writer: RecordingWriter, path: Path) -> None:
    smaller = frame(2.0, NOTHING)
    frames = [frame(), smaller, replace(frame(3.0), samples=None, trust={}, gaps=())]
    for f in frames:
        writer.append(f)
    source = RecordingSource(path)
    for f in frames:
        same(source.observe(60.0), f)
    for _ in range(2):
        with pytest.raises(SourceError, match="recording is at its end, all 3 frames were read"):
            source.observe(60.0)


def test_more_than_nine_frames_keep_their_order_and_a_recording_is_continued(path: Path) -> None:
    for at in range(12):
        writer = RecordingWriter(path)
        writer.append(frame(float(at)))
        writer.close()
    source = RecordingSource(path)
    assert [source.observe(1.0).at for _ in range(12)] == list(range(12))


@given(
    values=hnp.arrays(np.float32, 2, elements=st.floats(width=32)),
    at=st.floats(allow_nan=False, allow_infinity=False),
    word=st.text(st.characters(exclude_categories=["Cs"])),
    trust=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1)),
)
def test_any_number_and_name_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: Any, at: float, word: str, trust: dict[str, float]
) -> None:
    odd = frame()
    odd.edge.rate[:] = values
    odd.samples.api_admitted[1] = values  # type: ignore[union-attr]
    gap = Gap(word, word, GapReason.PARTIAL, word)
    odd = replace(odd, at=at, trust=trust, gaps=(gap,), index=replace(INDEX, edges=("a", word)))
    path = tmp_path_factory.mktemp("odd")
    writer = RecordingWriter(path)
    writer.append(odd)
    writer.close()
    same(RecordingSource(path).observe(1.0), odd)


def test_arrays_of_a_frame_can_be_written_to(writer: RecordingWriter, path: Path) -> None:
    writer.append(frame())
    RecordingSource(path).observe(1.0).edge.rate[0] = 3.0


def test_parts_joined_into_one_file_are_a_recording_too(writer: RecordingWriter, tmp_path: Path) -> None:
    parts = [writer.append(frame(float(at))) for at in range(3)]
    joined = tmp_path / "joined.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(part) for part in parts]), joined)
    source = RecordingSource(joined)
    for at in range(3):
        same(source.observe(1.0), frame(float(at)))
    source.close()
    same(RecordingSource(parts[1]).observe(1.0), frame(1.0))


def test_after_close_a_source_is_at_its_end(writer: RecordingWriter, path: Path) -> None:
    writer.append(frame())
    source = RecordingSource(path)
    source.close()
    with pytest.raises(SourceError, match="at its end, all 0 frames"):
        source.observe(1.0)


def test_kill_9_while_recording_leaves_whole_frames(path: Path) -> None:
    script = f"""
from pathlib import Path
from governor.adapters.recording import RecordingSource, RecordingWriter
first = RecordingSource(Path({str(path)!r})).observe(1.0)
writer = RecordingWriter(Path({str(path)!r}))
while True:
    print(writer.append(first).name, flush=True)
"""
    writer = RecordingWriter(path)
    writer.append(frame())
    writer.close()
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(5):
            name = child.stdout.readline().decode().strip()
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert name == "000000006.parquet"
    (path / ".000000999.parquet.tmp").write_bytes(b"PAR1 cut off")
    source = RecordingSource(path)
    whole = len(list(path.glob("[0-9]*.parquet")))
    assert whole >= 6
    for _ in range(whole):
        same(source.observe(1.0), frame())
    with pytest.raises(SourceError, match="at its end"):
        source.observe(1.0)
    again = RecordingWriter(path)
    assert again.append(frame()).stem == f"{whole + 1:09}"
    again.close()


def test_a_frame_that_does_not_fit_on_the_disk_leaves_no_part(writer: RecordingWriter, path: Path) -> None:
    writer.append(frame())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SourceError, match=r"this frame cannot be recorded: .*is the disk full"):
            writer.append(frame(2.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(p.name for p in path.iterdir()) == [".lock", "000000001.parquet"]
    assert writer.append(frame(2.0)).name == "000000002.parquet"


def test_two_writers_do_not_share_a_directory(writer: RecordingWriter, path: Path) -> None:
    with pytest.raises(SourceError, match="another process is recording here"):
        RecordingWriter(path)
    writer.close()
    RecordingWriter(path).close()


def test_paths_that_hold_no_recording(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no recording here"):
        RecordingSource(tmp_path / "nothing")
    with pytest.raises(SourceRefused, match="holds no frame of a recording"):
        RecordingSource(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="cannot record here"):
        RecordingWriter(tmp_path / "file")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "recipes.parquet")
    with pytest.raises(SourceRefused, match="a Parquet file, but no recording"):
        RecordingWriter(tmp_path)


def marked(version: bytes) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({b"governor.recording": version})


def put(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        column = pa.array([value], table.schema.field(at).type)
        return table.set_column(at, table.schema.field(at), column)

    return change


def typed(table: pa.Table) -> pa.Table:
    at = table.schema.get_field_index("edge.rate")
    return table.set_column(at, "edge.rate", pa.array([["1", "2"]]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.replace_schema_metadata(None), "is a Parquet file, but no recording"),
        (marked(b"2"), "newer governor (recording version 2, this one knows 1)"),
        (marked(b"\xff"), "newer governor"),
        (lambda table: table.drop_columns(["index.edges"]), "column index.edges is not there"),
        (typed, "column edge.rate is list<element: string>, a recording has list<item: float>"),
        (put("at", None), "frame 1: at is empty"),
        (put("at", float("nan")), "frame 1: at is nan"),
        (put("window_s", -1.0), "window_s is -1.0, and must be finite and not below 0"),
        (put("index.edges", None), "index.edges is empty"),
        (put("index.edges", ["a", None]), "index.edges lacks a name"),
        (put("index.edges", ["a", "b", "c"]), "index.edge_caller has 2 values, and must have 3"),
        (put("index.edge_callee", [0, 3]), "index.edge_callee points outside of its 3 names"),
        (put("index.api_edge", [-1, 0]), "index.api_edge points outside of its 2 names"),
        (put("index.backend_edge", [None]), "index.backend_edge has 0 values, and must have 1"),
        (put("edge.rate", [1.0]), "edge.rate has 1 values, and must have 2"),
        (put("edge.rate", [1.0, None]), "edge.rate has 1 values, and must have 2"),
        (put("edge.rate", None), "edge.rate is empty"),
        (put("trust", None), "trust is empty"),
        (put("gaps", [{"reason": "mood"}]), "gaps has an entry that is none ('mood' is not a valid GapReason)"),
        (put("gaps", [None]), "gaps has an entry that is none"),
        (put("samples.rows", 3), "samples.api_admitted has 8 values, and must have 6"),
        (put("samples.rows", -3), "samples.rows is -3.0, and must be finite and not below 0"),
        (put("samples.step_s", None), "samples.step_s is empty"),
    ],
)
def test_a_wrong_recording_is_refused_with_file_and_column(
    writer: RecordingWriter, change: Callable[[pa.Table], pa.Table], words: str
) -> None:
    part = writer.append(frame())
    pq.write_table(change(pq.read_table(part)), part)
    with pytest.raises(SourceRefused) as caught:
        RecordingSource(part).observe(1.0)
    assert str(caught.value).startswith(f"{part}: ")
    assert words in str(caught.value)


def test_a_signal_that_an_older_governor_did_not_record_is_unknown(writer: RecordingWriter, path: Path) -> None:
    part = writer.append(frame())
    pq.write_table(pq.read_table(part).drop_columns(["edge.retries"]), part)
    read = RecordingSource(path).observe(1.0)
    assert np.isnan(read.edge.retries).all()
    np.testing.assert_array_equal(read.edge.rate, frame().edge.rate)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 50, b"PAR1" + bytes(500) + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "000000001.parquet"
    path.write_bytes(content)
    with pytest.raises(SourceRefused, match=r"000000001\.parquet: is no whole Parquet file"):
        RecordingSource(path)
    assert path.read_bytes() == content


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused_or_without_effect(
    tmp_path_factory: pytest.TempPathFactory, share: float, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flip")
    writer = RecordingWriter(path)
    part = writer.append(frame())
    writer.close()
    content = bytearray(part.read_bytes())
    data_end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4 + int(share * (data_end - 4))] ^= 1 << bit
    part.write_bytes(content)
    # Anything else that is raised fails the test.
    with suppress(SourceRefused):
        same(RecordingSource(path).observe(1.0), frame())


def test_a_page_that_ends_early_without_an_error_of_arrow_is_damage(
    writer: RecordingWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = writer.append(frame())
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: iter(()))
    with pytest.raises(SourceRefused, match=r"is damaged \(it should hold 1 frames, and 0 can be read\)"):
        RecordingSource(part).observe(1.0)


def test_a_column_name_that_is_no_text_is_damage(writer: RecordingWriter) -> None:
    part = writer.append(frame())
    part.write_bytes(part.read_bytes().replace(b"edge.retries", b"edge.\xffetries"))
    with pytest.raises(SourceRefused, match="is no whole Parquet file"):
        RecordingSource(part)


def test_a_later_part_that_was_cut_off_is_named(writer: RecordingWriter, path: Path) -> None:
    writer.append(frame())
    second = writer.append(frame(2.0))
    second.write_bytes(second.read_bytes()[:-100])
    source = RecordingSource(path)
    source.observe(1.0)
    with pytest.raises(SourceRefused, match=r"000000002\.parquet: is no whole Parquet file"):
        source.observe(1.0)
