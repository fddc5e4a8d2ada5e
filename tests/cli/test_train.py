"""`governor train`: from each source to a promoted model, and clear words for all that stops it."""

from __future__ import annotations

import builtins
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from governor.adapters.model_store import load_forecast
from governor.adapters.recording import RecordingWriter
from governor.commands.train_source import seconds
from governor.errors import DocumentError
from governor.train import job as job_module
from governor.train.fit import Shape
from governor.train.job import Job
from tests.adapters.fake_prometheus import FakePrometheus, Reply
from tests.adapters.test_recording import frame
from tests.train.conftest import SMALL, days

from .conftest import Call

pytestmark = pytest.mark.timeout(180)
DAY = 86_400


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> list[Shape]:
    """Jobs of the command line are as small as those of the other tests; the last shape counts."""
    plain = job_module.train
    shapes = [SMALL.shape]

    def train(series: Any, out: Path, job: Job, on_step: Any) -> Any:
        return plain(
            series,
            out,
            replace(job, rows=SMALL.rows, shape=shapes[-1]),
            on_step,
        )

    monkeypatch.setattr(job_module, "train", train)
    return shapes


def folder(place: Path, name: str, count: float) -> Path:
    """Series of `count` days as a table in a folder."""
    place.mkdir(exist_ok=True)
    series = days(count)
    tables = [
        pa.table(
            {
                "timestamp": one.history.end_at - 300.0 * np.arange(one.history.values.shape[1])[::-1],
                "value": one.history.values[0].astype(float),
                "series": [one.name] * one.history.values.shape[1],
            }
        )
        for one in series
    ]
    pyarrow.csv.write_csv(pa.concat_tables(tables), place / f"{name}.csv")
    return place


def test_a_folder_is_trained_on_and_the_winner_is_in_use(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], small: list[Shape]
) -> None:
    source = folder(tmp_path / "data", "load", 8)
    out = tmp_path / "store"
    assert call("train", "--source", str(source), "--out", str(out), "--data", "made up; public domain") == 0
    said = capsys.readouterr()
    assert "data: 4 series" in said.err
    for step in ("rows: 3 of 3", "fit: 3 of 3", "score: 4 of 4", "compared with the naive forecasts only"):
        assert step in said.err
    assert "| all groups |" in said.out
    name = load_forecast(out).name
    assert f"{name} is in use in {out} now" in said.out
    assert "* Data: made up; public domain" in (out / name / "card.md").read_text()
    # The next one has learned next to nothing.
    small.append(Shape(trees=2, rate=0.01))
    assert call("train", "--source", str(source), "--out", str(out)) == 1
    said = capsys.readouterr()
    assert "not promoted: it does not beat champion" in said.err
    assert f"{out} is as it was" in said.err
    assert load_forecast(out).name == name


def test_only_the_sets_that_are_named_are_learned_from(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder(folder(tmp_path / "data", "load", 3), "other", 3)
    assert call("train", "--source", str(source), "--set", "load", "--since", "1h") == 2
    assert "data: 4 series" in capsys.readouterr().err
    assert call("train", "--source", str(source), "--set", "lood") == 2
    assert f"{source}: holds no lood; it holds load, other" in capsys.readouterr().err


def test_a_prometheus_with_a_week_is_trained_on(
    call: Call, fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    noise = np.exp(0.03 * rng.standard_normal(5000))

    def wave(phase: int) -> Any:
        return lambda at: (
            None
            if at < fake.now - 8 * DAY
            else 100 * (1 + 0.6 * np.sin(2 * np.pi * at / DAY + phase)) * noise[int(at // 300) % 5000]
        )

    fake.samples["history"] = [({"envoy_cluster_name": f"out|a|s{i}"}, wave(i)) for i in range(3)]
    given = ("--source", "prometheus", "--source-url", fake.url, "--dialect", "envoy", "--since", "14d")
    assert call("train", *given, "--out", str(tmp_path / "store")) == 0
    said = capsys.readouterr()
    assert "range queries: 4032 of 4032" in said.err
    assert "prometheus: 3 series" in said.err
    assert load_forecast(tmp_path / "store")


def test_a_prometheus_that_is_young_says_when_to_come_back(
    call: Call, fake: FakePrometheus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.samples["history"] = [
        ({"envoy_cluster_name": "out|a|web"}, lambda at: 5.0 if at > fake.now - 600 else None)
    ]
    assert call("train", "--source", "prometheus", "--source-url", fake.url, "--dialect", "envoy") == 2
    error = capsys.readouterr().err
    assert "too little history: the longest series, web, spans 10 min, 48 h are needed" in error
    back = time.strftime("%Y-%m-%d", time.gmtime(fake.now + 47.5 * 3600))
    assert f"Come back at {back}" in error
    assert not (tmp_path / "models").exists()


def test_prometheus_down_odd_or_not_named_is_one_clear_line(
    call: Call, fake: FakePrometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", "--source", "prometheus") == 2
    assert "source.prometheus.url is not set" in capsys.readouterr().err
    assert call("train", "--source", "prometheus", "--source-url", "http://127.0.0.1:1") == 2
    assert "cannot be reached" in capsys.readouterr().err
    fake.reply = Reply(200, b"<html>Log in</html>")
    assert call("train", "--source", "prometheus", "--source-url", fake.url) == 2
    assert "answers with HTML" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "soon", "14", "-1d", "0d", "14 days", "1e9d", "99999d", "nand", "١d", "14d\n14d"]
)
def test_a_since_that_is_no_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(DocumentError, match=r"as in 36h, 14d or 2w"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "found"), [("36h", 129_600), ("14d", 14 * DAY), ("2w", 14 * DAY), ("1.5d", 129_600)]
)
def test_a_since_is_hours_days_or_weeks(text: str, found: float) -> None:
    assert seconds(text) == found


def test_sources_that_are_not_there_or_hold_nothing_say_what_is_taken(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", "--source", "nowhere") == 2
    assert "nowhere: is not there; --source takes prometheus, recording" in capsys.readouterr().err
    assert call("train", "--source", "recording") == 2
    assert "--recording PLACE" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert call("train", "--source", "empty") == 2
    assert "empty: holds no series" in capsys.readouterr().err
    (tmp_path / "empty" / "x.csv").write_text("a,b\n1,2\n")
    assert call("train", "--source", "empty") == 2
    assert "has no column timestamp or value" in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_a_recording_of_ten_minutes_is_too_little_and_says_so(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: bool
) -> None:
    writer = RecordingWriter(tmp_path / "frames")
    for minute in range(10):
        writer.append(frame(1e9 + 60.0 * minute))
    writer.close()
    given = ("recording", "--recording", "frames") if named else ("frames",)
    assert call("train", "--source", *given) == 2
    assert "too little history" in capsys.readouterr().err


def test_dask_without_an_address_without_a_scheduler_and_without_the_extra(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(folder(tmp_path / "data", "load", 3))
    assert call("train", "--source", source, "--backend", "dask") == 2
    assert "--backend dask needs the scheduler's --address" in capsys.readouterr().err
    assert call("train", "--source", source, "--address", "tcp://127.0.0.1:1") == 2
    assert "is for --backend dask" in capsys.readouterr().err
    assert call("train", "--source", source, "--backend", "dask", "--address", "nonsense://x") == 2
    assert "the Dask scheduler at nonsense://x cannot be reached" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert call("train", "--source", source, "--backend", "dask", "--address", "tcp://127.0.0.1:1") == 2
    assert "pip install 'mesh-governor[dask]'" in capsys.readouterr().err


@pytest.mark.parametrize("absent", ["joblib", "sklearn", "skl2onnx", "onnx"])
def test_without_the_extra_the_words_are_what_to_install(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("governor.train")]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == absent:
            raise ModuleNotFoundError(f"No module named {absent!r}", name=absent)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert call("train", "--source", "prometheus") == 2
    assert (
        f"training needs {absent}, which is not installed; install it with: pip install 'mesh-governor[train]'"
        in (capsys.readouterr().err)
    )


def test_ctrl_c_is_130_and_says_that_nothing_has_changed(
    call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job_module, "fit", stop)
    assert call("train", "--source", str(folder(tmp_path / "data", "load", 3)), "--out", "store") == 130
    assert "stopped; store is as it was" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
