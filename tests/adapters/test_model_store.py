"""The store: whole models only, whatever is done to its files; and a new one is taken up without a pause."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from governor.adapters import model_store
from governor.adapters.model_manifest import FORECAST, MANIFEST
from governor.adapters.model_store import CALIBRATION, CARD, GOLDEN, GRAPH, DirectoryModelStore, load_forecast
from governor.errors import ModelRefused
from governor.predict.model import TrainedForecast
from governor.train.promote import promote
from tests.adapters.small_model import TRAINED, files

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    promote(tmp_path, files(), TRAINED, {"numpy": "2"})
    return tmp_path


@pytest.fixture
def store(models: Path) -> Iterator[DirectoryModelStore]:
    made = DirectoryModelStore(models)
    yield made
    made.close()


def entry(models: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((models / MANIFEST).read_text())["models"][FORECAST]
    return found


def place(models: Path) -> Path:
    return models / FORECAST / entry(models)["version"]


def rewrite(models: Path, change: Change) -> None:
    document = json.loads((models / MANIFEST).read_text())
    change(document)
    (models / MANIFEST).write_text(json.dumps(document))


def replaced(models: Path, name: str, content: bytes) -> None:
    """Another file, and a manifest that says it is right."""
    (place(models) / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    rewrite(models, lambda document: document["models"][FORECAST]["files"].update({name: digest}))


def refusal(models: Path) -> str:
    with pytest.raises(ModelRefused) as caught:
        load_forecast(models)
    return str(caught.value)


@pytest.mark.parametrize("name", [GRAPH, GOLDEN, CALIBRATION, CARD])
def test_a_truncated_altered_or_missing_file_is_refused_by_name(models: Path, name: str) -> None:
    path = place(models) / name
    whole = path.read_bytes()
    for content in (whole[:-1], b"", whole[:7] + bytes([whole[7] ^ 1]) + whole[8:]):
        path.write_bytes(content)
        assert f"{path}: is not what the manifest says" in refusal(models)
    path.unlink()
    assert f"{path}: cannot be read (No such file or directory)" in refusal(models)
    path.write_bytes(whole)
    load_forecast(models)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda d: d["models"][FORECAST].update(features="0123"),
            "trained on features 0123, this governor makes",
        ),
        (lambda d: d["models"][FORECAST].update(opset=17), "is of opset 17, this governor runs 18"),
        (lambda d: d["models"][FORECAST].update(pickle="model.pkl"), "models.forecast.pickle: Extra inputs"),
        (lambda d: d.update(extra=1), "extra: Extra inputs"),
        (lambda d: d.update(schema=2), "written by a newer governor (schema 2)"),
        (lambda d: d["models"].clear(), "names no model forecast"),
        (lambda d: d["models"][FORECAST].update(version="../elsewhere"), "models.forecast.version"),
        (lambda d: d["models"][FORECAST]["files"].update({"../x": "0" * 64}), "models.forecast.files"),
        (lambda d: d["models"][FORECAST]["files"].update({CARD: "12"}), "models.forecast.files.card.md"),
        (lambda d: d["models"][FORECAST]["files"].pop(GOLDEN), "lists no golden.json"),
        (lambda d: d["models"][FORECAST].pop("trained"), "models.forecast.trained: Field required"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_with_the_field(models: Path, change: Change, said: str) -> None:
    rewrite(models, change)
    assert str(models / MANIFEST) in refusal(models)
    assert said in refusal(models)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"null", b'"schema"'])
def test_a_manifest_that_is_no_object_of_json_is_refused(models: Path, content: bytes) -> None:
    (models / MANIFEST).write_bytes(content)
    assert str(models / MANIFEST) in refusal(models)


def test_golden_rows_that_do_not_come_out_are_refused(models: Path) -> None:
    document = json.loads(files()[GOLDEN])
    document["z"][3][1] += 0.01
    replaced(models, GOLDEN, json.dumps(document).encode())
    assert "the graph is off the golden outputs by 0.01 in z" in refusal(models)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (GOLDEN, b"{}", "holds no golden rows"),
        (GOLDEN, b"[1]", "is no JSON object"),
        (GOLDEN, b'{"rows": [], "z": []}', "holds rows of (0,)"),
        (GOLDEN, b'{"rows": [[1, 2]], "z": [[1, 2, 3]]}', "holds rows of (1, 2)"),
        (CALIBRATION, b"{}", "holds no calibration scores"),
        (CALIBRATION, b'{"horizons_min": [5], "scores": [[[0, 1]]]}', "holds scores of (1, 1, 2)"),
        (CALIBRATION, b'{"horizons_min": [5, 1], "scores": [[[0, 1], [0, 1]], [[0, 1], [0, 1]]]}', "ascending"),
        (CALIBRATION, b'{"horizons_min": [5], "scores": [[[0, NaN], [0, 1]]]}', "no finite numbers"),
        (GRAPH, b"no graph", "ONNX Runtime cannot read it"),
        (GRAPH, b"", "ONNX Runtime cannot read it"),
    ],
)
def test_a_file_with_the_right_checksum_and_the_wrong_content_is_refused(
    models: Path, name: str, content: bytes, said: str
) -> None:
    replaced(models, name, content)
    assert f"{place(models) / name}: " in refusal(models)
    assert said in refusal(models)


def test_an_empty_an_absent_and_an_unreadable_folder_say_what_to_do(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "empty", tmp_path / "absent"):
        assert "there is no manifest, hence no model; make one with governor train" in refusal(folder)

    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    # Root may read everything, so the refusal is made here.
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read (Permission denied)" in refusal(models)


def test_what_is_checked_is_what_is_loaded(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is opened once: there is no second look that an exchanged file could slip into."""
    read: list[Path] = []
    plain = Path.read_bytes

    def noted(path: Path) -> bytes:
        read.append(path)
        return plain(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    load_forecast(models)
    assert sorted(path.name for path in read) == sorted([MANIFEST, *files()])


def test_a_store_without_a_model_says_why_each_time(tmp_path: Path) -> None:
    store = DirectoryModelStore(tmp_path)
    for _ in range(2):
        model, reason = store.current()
        assert model is None
        assert "there is no manifest" in reason
    promote(tmp_path, files(), TRAINED, {})
    assert settled(store, "")[0] is not None
    store.close()


def settled(store: DirectoryModelStore, reason: str) -> tuple[TrainedForecast | None, str]:
    """What is served once the background load is through and gives a reason that holds `reason`."""
    end = time.monotonic() + 20
    while True:
        model, said = store.current()
        if model is not None and (reason in said if reason else not said):
            return model, said
        assert time.monotonic() < end, said
        time.sleep(0.005)


def test_a_new_version_is_taken_up_and_an_unchanged_one_is_not_read_again(
    models: Path, store: DirectoryModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, reason = store.current()
    assert first is not None
    assert reason == ""
    loads: list[Path] = []
    plain = model_store.load_forecast
    monkeypatch.setattr(model_store, "load_forecast", lambda path: loads.append(path) or plain(path))
    assert all(store.current()[0] is first for _ in range(5))
    assert loads == []
    version = promote(models, files(1), TRAINED, {})
    end = time.monotonic() + 20
    while (found := store.current()[0]) is first:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert found is not None
    assert found.name == f"{FORECAST}/{version}"
    assert len(loads) == 1


def test_the_old_model_serves_while_the_new_one_is_being_checked(
    models: Path, store: DirectoryModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = store.current()
    go_on = threading.Event()
    plain = model_store.load_forecast

    def slow(path: Path) -> TrainedForecast:
        assert go_on.wait(20)
        return plain(path)

    monkeypatch.setattr(model_store, "load_forecast", slow)
    promote(models, files(1), TRAINED, {})
    assert all(store.current() == (first, "") for _ in range(3))
    go_on.set()
    end = time.monotonic() + 20
    while store.current()[0] is first:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("harm", ["truncated graph", "no manifest", "manifest is not JSON"])
def test_the_old_model_stays_with_a_reason_where_the_new_one_is_bad(
    models: Path, store: DirectoryModelStore, harm: str
) -> None:
    first, _ = store.current()
    assert first is not None
    if harm == "truncated graph":
        promote(models, files(1), TRAINED, {})
        graph = place(models) / GRAPH
        graph.write_bytes(graph.read_bytes()[:100])
        os.utime(models / MANIFEST)
    elif harm == "no manifest":
        (models / MANIFEST).unlink()
    else:
        (models / MANIFEST).write_text("<html>")
    model, reason = settled(store, "stays in use")
    assert model is first
    assert reason.startswith(f"{first.name} stays in use: {models}")
    promote(models, files(1), TRAINED, {})
    os.utime(models / MANIFEST)
    renewed, _ = settled(store, "")
    assert renewed is not first
