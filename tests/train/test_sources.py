"""Series from files and recordings: on which grid, in which order, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from governor.adapters.recording import RecordingWriter
from governor.errors import SourceError, SourceRefused
from governor.predict.history import RateHistory
from governor.train.prometheus import series_of, step_of
from governor.train.recorded import is_recording, read_recording
from governor.train.sources import gridded, read_folder
from tests.adapters.test_recording import frame

AT = 1_700_000_100.0


def csv(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_table_of_several_series_gives_one_for_each_by_name(tmp_path: Path) -> None:
    rows = "".join(f"{AT + 60 * i},{i},{name}\n" for i in range(4) for name in "ba")
    csv(tmp_path, "load.csv", f"timestamp,value,series\n{rows}")
    found = read_folder(tmp_path)
    assert [(one.name, one.group) for one in found] == [("load/a", "load"), ("load/b", "load")]
    assert found[0].history.values.tolist() == [[0, 1, 2, 3]]
    assert (found[0].history.end_at, found[0].history.step_s) == (AT + 180, 60)


def test_times_may_be_times_and_files_may_be_parquet(tmp_path: Path) -> None:
    times = np.datetime64("2026-01-01T00:05") + 5 * np.arange(3) * np.timedelta64(1, "m")
    pq.write_table(
        pa.table({"timestamp": times.astype("datetime64[us]"), "value": [1, 2, 3]}), tmp_path / "x.parquet"
    )
    (one,) = read_folder(tmp_path)
    assert (one.name, one.history.step_s) == ("x/x", 300)
    assert one.history.end_at == 1_767_225_600 + 15 * 60


@pytest.mark.parametrize(
    ("apart", "step"), [(10.0, 60.0), (60.0, 60.0), (300.0, 300.0), (900.0, 300.0), (7200.0, 3600.0)]
)
def test_samples_go_on_the_coarsest_grid_that_is_no_coarser_than_they_are(apart: float, step: float) -> None:
    history = gridded(AT + apart * np.arange(40), np.ones(40))
    assert history.step_s == step
    assert np.nanmax(history.values) == 1
    assert np.isfinite(history.values).sum() == (40 if apart >= step else round(40 * apart / step + 0.5))


def test_a_known_set_is_read_by_its_layout_and_only_its_rates(tmp_path: Path) -> None:
    (tmp_path / "nab").mkdir()
    at = AT + 300 * np.arange(3)
    table = pa.table(
        {
            "timestamp": [*at, *at],
            "value": range(6),
            "series": ["realTweets/x"] * 3 + ["realAWSCloudwatch/cpu"] * 3,
        }
    )
    pq.write_table(table, tmp_path / "nab" / "nab.parquet")
    (one,) = read_folder(tmp_path)
    assert (one.name, one.group) == ("nab/realTweets/x", "nab")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"time,value\n1,2\n", "has no column timestamp (it has time, value)"),
        ("x.csv", b"timestamp,value\n1,two\n", "column value is not of numbers"),
        ("x.csv", b"timestamp,value\nsoon,2\n", "column timestamp is neither times nor seconds"),
        ("x.csv", b"", "cannot be read as a table"),
        ("x.parquet", b"PAR1", "is no whole Parquet file"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceRefused) as caught:
        read_folder(tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert said in str(caught.value)


def test_a_folder_without_series_says_what_it_could_hold(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no series; it needs .*worldcup98, nab, m4_hourly"):
        read_folder(tmp_path)


def test_a_recording_gives_the_mean_of_each_step_of_the_services_that_are_called(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "frames")
    for second, rate in ((60, 10.0), (120, 30.0), (900, 50.0)):
        made = frame(3e8 + second)
        edge = replace(made.edge, rate=np.array([rate, np.nan], np.float32))
        writer.append(replace(made, edge=edge))
    writer.close()
    assert is_recording(tmp_path / "frames")
    (one,) = read_recording(tmp_path / "frames")
    assert (one.name, one.history.step_s, one.history.end_at) == ("web", 300, 3e8 + 900)
    np.testing.assert_array_equal(one.history.values, [[20, np.nan, 50]])


def test_of_a_prometheus_the_time_before_its_first_sample_is_left_out() -> None:
    values = np.full((2, 10), np.nan, np.float32)
    values[0, 6:], values[1, 4:] = 1, 2
    first, second = series_of(["a", "b"], RateHistory(values, AT, 300.0))
    assert [first.name, second.name] == ["a", "b"]
    np.testing.assert_array_equal(first.history.values, [[np.nan, np.nan, 1, 1, 1, 1]])
    assert np.shares_memory(second.history.values, values)


def test_a_short_history_is_asked_for_minute_by_minute() -> None:
    assert [step_of(days * 86_400.0) for days in (0.5, 3, 3.1, 14)] == [60, 60, 300, 300]
