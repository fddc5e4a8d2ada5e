"""`governor record`: what it leaves behind, however it ends; and that recommend reads it."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from governor.adapters.prometheus import PrometheusOptions, PrometheusSource
from governor.adapters.recording import RecordingEnded, RecordingSource, RecordingWriter, join
from governor.commands.record import Pace, record
from governor.domain import MeshFrame
from governor.errors import SourceError, SourceUnreachable
from governor.lab.mesh import MeshLab
from tests.adapters.fake_prometheus import WEB, FakePrometheus, Reply

from .conftest import Call, Spawn, scenario


def frames_of(path: Path) -> list[MeshFrame]:
    source = RecordingSource(path)
    found = []
    while True:
        try:
            found.append(source.observe(1.0))
        except RecordingEnded:
            return found


def arguments(fake: FakePrometheus, out: Path, *more: str) -> list[str]:
    return ["record", "--source-url", fake.url, "--dialect", "envoy", "--out", str(out), *more]


@pytest.mark.parametrize("name", ["frames", "frames.parquet"])
def test_a_directory_or_a_file_is_recorded_and_recommend_reads_it(
    call: Call, fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / name
    assert call(*arguments(fake, out, "--every", "1", "--for", "2")) == 0
    said = capsys.readouterr().out
    assert f"2 frames in {out}" in said
    assert [frame.index.edges for frame in frames_of(out)] == [(WEB, "out|web|db")] * 2
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert call("recommend", "--recording", str(out)) in {0, 1}
    assert "recommend" in capsys.readouterr().out


def test_a_directory_is_continued_and_says_so_and_a_file_is_never_overwritten(
    call: Call, fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert call(*arguments(fake, tmp_path / "kept", "--for", "1")) == 0
    captured = capsys.readouterr()
    assert "kept: holds 1 frame already, the new ones are added" in captured.err
    assert "1 frame in" in captured.out
    assert ", 2 in all" in captured.out
    file = tmp_path / "one.parquet"
    file.write_bytes(b"something of the user's")
    assert call(*arguments(fake, file, "--for", "1")) == 2
    assert "one.parquet: is there already and is not overwritten" in capsys.readouterr().err
    assert file.read_bytes() == b"something of the user's"
    with pytest.raises(SourceError, match="is not overwritten"):
        join(tmp_path / "kept", file)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "frames"), (signal.SIGINT, "one.parquet"), (signal.SIGTERM, "frames")]
)
def test_a_signal_leaves_a_readable_recording(
    spawn: Spawn, fake: FakePrometheus, tmp_path: Path, number: signal.Signals, name: str
) -> None:
    out = tmp_path / name
    parts = out if out.suffix == "" else out.with_name("one.parquet.parts")
    governor = spawn(*arguments(fake, out, "--every", "1"))
    governor.until((parts / "000000001.parquet").exists)
    assert governor.end(number) == 0
    assert len(frames_of(out)) >= 1
    assert "Traceback" not in governor.errors.read_text()


def test_stopped_before_there_was_a_frame(spawn: Spawn, fake: FakePrometheus, tmp_path: Path) -> None:
    fake.reply = Reply(hang=True)
    governor = spawn(*arguments(fake, tmp_path / "frames"))
    governor.until(lambda: bool(fake.asked))
    assert governor.end(signal.SIGINT) == 130
    assert "stopped before there was a frame" in governor.errors.read_text()


def test_a_signal_right_after_a_part_was_written_counts_that_part(
    call: Call,
    fake: FakePrometheus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append = RecordingWriter.append

    def then_ctrl_c(writer: RecordingWriter, frame: MeshFrame) -> None:
        append(writer, frame)
        raise KeyboardInterrupt

    monkeypatch.setattr(RecordingWriter, "append", then_ctrl_c)
    assert call(*arguments(fake, tmp_path / "one.parquet")) == 0
    assert "1 frame in" in capsys.readouterr().out
    assert len(frames_of(tmp_path / "one.parquet")) == 1


def test_nothing_to_record_is_an_error(
    call: Call, fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.reply = Reply(200, b"<html>Log in</html>")
    assert call(*arguments(fake, tmp_path / "frames")) == 2
    assert "answers with HTML" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class Flaky:
    """A source whose second answer does not come; Ctrl-C is pressed when it is asked a fourth time."""

    def __init__(self, frame: MeshFrame) -> None:
        self.frame = frame
        self.asked = 0

    def observe(self, window_s: float) -> MeshFrame:
        self.asked += 1
        if self.asked == 2:
            raise SourceUnreachable("no answer")
        if self.asked == 4:
            raise KeyboardInterrupt
        return self.frame

    def close(self) -> None:
        pass


def test_a_moment_without_an_answer_is_told_and_the_recording_goes_on(
    fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = PrometheusSource(PrometheusOptions(fake.url, dialect="envoy"))
    source = Flaky(real.observe(20.0))
    real.close()
    assert record(source, tmp_path / "frames", Pace(1.0, 0.01)) == 0
    assert "no frame this time: no answer" in capsys.readouterr().err
    assert len(frames_of(tmp_path / "frames")) == 2


def test_two_writers_of_one_directory_are_refused(
    call: Call, fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = RecordingWriter(tmp_path / "frames")
    assert call(*arguments(fake, tmp_path / "frames")) == 2
    writer.close()
    assert "another process is recording here" in capsys.readouterr().err


@pytest.mark.envoy
@pytest.mark.usefixtures("real_envoy")
def test_a_real_envoy_is_recorded_and_its_overload_found_in_the_recording(
    call: Call, spawn: Spawn, tmp_path: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen.parquet"
    with MeshLab(scenario(seconds=12, low=180), tmp_path / "lab", address) as lab:
        governor = spawn(
            "record", "--envoy-admin", lab.admin_url, "--out", str(out), "--every", "2", "--for", "6"
        )
        lab.run()
        assert governor.process.wait(20) == 0, governor.errors.read_text()
    recorded = frames_of(out)
    assert len(recorded) == 3
    assert recorded[-1].edge.rate[0] > 50
    assert np.isfinite(recorded[-1].edge.in_flight[0])
    assert call("recommend", "--recording", str(out), "--format", "json") == 1
    assert '"knob": "in-flight-cap"' in capsys.readouterr().out
